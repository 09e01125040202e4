"""encode_image: embeddings of images by an image encoder, computed once and used for many images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from PIL import Image
from transformers import CLIPVisionModelWithProjection, SiglipVisionModel

from recipe_runner.plan.resolved_base import ResolvedComponent
from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.load.file_guard import Watch, unchanged
from recipe_runner.runtime.load.part_files import PartFiles
from recipe_runner.runtime.load.parts import load_part, stated_class
from recipe_runner.runtime.load.tensors import align
from recipe_runner.runtime.lru import Lru
from recipe_runner.weights.ip_adapter import READINGS, Features

MOST_LOADED = 2
"""Image encoders kept on the device at once."""
_PREPROCESSOR = "preprocessor_config.json"
_TEXT = ("text_model.", "text_projection.", "logit_scale", "logit_bias")
"""Tensors of a whole model that are not the image encoder's."""


@dataclass(frozen=True)
class _Sort:
    """A class of image encoder, the name of its preprocessor class, and the preprocessor's settings for a size."""

    model: type[Any]
    processor: str
    settings: Callable[[int], dict[str, Any]]


_SORTS: Mapping[str, _Sort] = {
    "CLIPVisionModelWithProjection": _Sort(
        CLIPVisionModelWithProjection, "CLIPImageProcessor", lambda size: {"size": size, "crop_size": size}
    ),
    "SiglipVisionModel": _Sort(
        SiglipVisionModel, "SiglipImageProcessor", lambda size: {"size": {"height": size, "width": size}}
    ),
}


@dataclass(frozen=True)
class _Encoder:
    model: Any
    processor: Any
    watch: Watch


class ImageEncoders:
    """The image encoders on one device."""

    def __init__(self, device: torch.device) -> None:
        """Nothing is loaded yet."""
        self._device = device
        self._loaded: Lru[tuple[object, ...], _Encoder] = Lru(MOST_LOADED)

    def encode(
        self, component: ResolvedComponent, images: Sequence[Image.Image], features: Features, *, allow_pickle: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of `images`, and their counterparts for classifier-free guidance.

        The steps are those of the pipelines' own `encode_image`, in one batch as there. Projected embeddings are
        [n, features]; their counterpart is zeros, or the embedding of one black image for Flux. Hidden states are
        [n, patches, features]; their counterpart is those of pixels that are zero, or zeros for Stable Diffusion 3.

        Raises:
            WeightsError: E5xx, the encoder cannot be loaded whole, or its file changed since; E644, its preprocessing
                does not fit it.
        """
        encoder = self._encoder(component, READINGS[features].encoder, allow_pickle=allow_pickle)
        found = self._encoded(encoder, images, features)
        encoder.watch.check()
        return found

    def _encoded(
        self, encoder: _Encoder, images: Sequence[Image.Image], features: Features
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad(), quiet():
            pixels = self._pixels(encoder, images)
            if not READINGS[features].patches:
                embeds = encoder.model(pixels).image_embeds
                if READINGS[features].zeros:
                    return embeds, torch.zeros_like(embeds)
                size = (encoder.model.config.image_size,) * 2
                return embeds, encoder.model(self._pixels(encoder, [Image.new("RGB", size)])).image_embeds
            states = encoder.model(pixels, output_hidden_states=True).hidden_states[-2]
            if READINGS[features].zeros:
                return states, torch.zeros_like(states)
            return states, encoder.model(torch.zeros_like(pixels), output_hidden_states=True).hidden_states[-2]

    def _pixels(self, encoder: _Encoder, images: Sequence[Image.Image]) -> torch.Tensor:
        """[n, 3, size, size] of the encoder's own size."""
        pixels: torch.Tensor = encoder.processor(list(images), return_tensors="pt").pixel_values
        size = encoder.model.config.image_size
        if tuple(pixels.shape[-2:]) != (size, size):
            height, width = pixels.shape[-2:]
            raise WeightsError.of(
                "E644",
                f"the image encoder reads {size}x{size} pixels, but its {_PREPROCESSOR} makes {width}x{height}",
                f"name the folder of an encoder with its own {_PREPROCESSOR}",
            )
        return pixels.to(device=self._device, dtype=encoder.model.dtype)

    def clear(self) -> None:
        """Drop every encoder."""
        self._loaded.clear()

    def _encoder(self, component: ResolvedComponent, sort: str, *, allow_pickle: bool) -> _Encoder:
        key = sort, component.source.digest, component.subfolder, component.variant, component.dtype
        return self._loaded.get(key, lambda: self._load(component, sort, allow_pickle=allow_pickle))

    def _load(self, component: ResolvedComponent, sort: str, *, allow_pickle: bool) -> _Encoder:
        source = component.source.require_found()
        files = PartFiles(source, component.subfolder or "")
        with unchanged(source) as (watch,), quiet():
            # Importing the class logs which backend it falls back to; the manifest records it.
            processor_class = getattr(transformers, _SORTS[sort].processor)
            model = load_part(
                "image_encoder",
                _SORTS[sort].model,
                files,
                dtype=component.dtype,
                variant=component.variant,
                allow_pickle=allow_pickle,
                beside=_TEXT if _is_whole_model(stated_class(files), sort) else (),
            )
            if _PREPROCESSOR in files.names:
                processor = load_part(
                    "image_encoder's preprocessor",
                    processor_class,
                    files,
                    dtype="",
                    variant=None,
                    allow_pickle=False,
                )
            else:
                processor = processor_class(**_SORTS[sort].settings(model.config.image_size))
        model.to(self._device)
        align(model)
        return _Encoder(model, processor, watch)


def _is_whole_model(stated: str | None, sort: str) -> bool:
    """Whether the class that a folder states is a whole model, which holds an image encoder of this class."""
    return any(reading.whole == stated and reading.encoder == sort for reading in READINGS.values())
