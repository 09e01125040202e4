"""encode_image: from images and embedding files to the tensors that an IP-Adapter reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from recipe_runner.images.read import read_picture
from recipe_runner.plan.resolved import ResolvedImagePrompt
from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.ip_adapter.faces import FaceFinder
from recipe_runner.runtime.ip_adapter.image_encoder import ImageEncoders
from recipe_runner.runtime.load.file_guard import require_found, unchanged
from recipe_runner.runtime.load.tensors import read_tensors
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.formats import identify_format
from recipe_runner.weights.files.image_embeds import embeds_shape, read_array
from recipe_runner.weights.ip_adapter import ImagePromptShape


@dataclass(frozen=True)
class EmbeddingPair:
    """Embeddings of n images, [1, n, features] or [1, n, patches, features], and negative ones for guidance.

    `negative` is None if they are missing, so that guidance is impossible. It has n images too, or one for all (Flux).
    """

    positive: torch.Tensor
    negative: torch.Tensor | None


@dataclass(frozen=True)
class ImageConditioning:
    """The encoded image prompt of an IP-Adapter: on the device or the CPU, never changed in place.

    `embeds` goes through the image projection; `clip` is FaceID Plus's second input, the hidden states of the faces.
    """

    embeds: EmbeddingPair
    clip: EmbeddingPair | None = None


def encode_image(prompt: ResolvedImagePrompt, encoders: ImageEncoders, finder: FaceFinder) -> ImageConditioning:
    """Encode the images and embeddings of `prompt`.

    Raises:
        RecipeRunnerError: E508 a file changed, E5xx the encoder cannot be loaded, E64x, E65x something does not fit.
    """
    sources = require_found(prompt.pictures)
    if prompt.faces is not None:
        images, embeddings = [], []
        for face in finder.find(sources, prompt.faces.require_found()):
            images.append(face.image)
            embeddings.append(face.embedding)
        given = [(prompt.name, torch.stack(embeddings))]
    else:
        embeds = require_found(prompt.embeds)
        with unchanged(*sources, *embeds):
            images = [read_picture(_path(source), source.address) for source in sources]
            given = [(source.address, _array(source)) for source in embeds]
    encoded = _encoded(prompt, images, encoders)
    if given:
        return ImageConditioning(_joined(given, prompt.require_shown()), encoded)
    if encoded is None:
        message = f"BUG: adapter {prompt.name} has neither images nor embeddings"
        raise AssertionError(message)
    return ImageConditioning(encoded)


def _encoded(prompt: ResolvedImagePrompt, images: list[Image.Image], encoders: ImageEncoders) -> EmbeddingPair | None:
    features = prompt.require_shown().features
    if features is None or prompt.encoder is None:
        return None
    embeds, negative = encoders.encode(prompt.encoder, images, features, allow_pickle=prompt.allow_pickle)
    return EmbeddingPair(embeds[None], negative[None])


def _joined(given: Sequence[tuple[str, torch.Tensor]], shown: ImagePromptShape) -> EmbeddingPair:
    """The embeddings of every file as one pair; the tensors may have fewer leading dimensions than it."""
    positives, negatives = [], []
    for name, tensor in given:
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError.of("E646", f"{name}: the embedding has numbers that are not finite")
        whole = _with_all_dimensions(tensor, shown)
        positives.append(whole[-1:])
        if len(whole) > 1:
            negatives.append(whole[:-1])
    positive = torch.cat(positives, dim=1)
    if negatives:
        return EmbeddingPair(positive, torch.cat(negatives, dim=1))
    return EmbeddingPair(positive, torch.zeros_like(positive) if shown.negative else None)


def _with_all_dimensions(tensor: torch.Tensor, shown: ImagePromptShape) -> torch.Tensor:
    dimensions = 4 if shown.patches else 3
    if shown.paired and tensor.ndim == dimensions - 1:
        tensor = tensor.unsqueeze(1)
    return tensor.reshape(*[1] * (dimensions - tensor.ndim), *tensor.shape)


def _array(source: Source) -> torch.Tensor:
    path = _path(source)
    embeds_shape(path, source.address)
    if identify_format(path) == "numpy":
        # Not mapped: overwriting the file must not change the array.
        return torch.from_numpy(read_array(path, source.address, mapped=False)).float()
    (tensor,) = read_tensors(path, allow_pickle=False).values()
    return tensor.float()


def _path(source: Source) -> Path:
    return source.path(source.files[0].name)
