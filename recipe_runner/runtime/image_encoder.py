"""encode_image: what an image encoder makes of pictures, computed once and used for many images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import CLIPVisionModelWithProjection

from recipe_runner.handle import ComponentModel
from recipe_runner.runtime.environment import quiet
from recipe_runner.runtime.parts import declared_class, load_part
from recipe_runner.runtime.problems import misfit
from recipe_runner.runtime.watch import Watch
from recipe_runner.weights.ip_adapter import Features
from recipe_runner.weights.ip_adapter.encoder import WHOLE

MOST_LOADED = 2
"""Image encoders kept on the device at once."""
_PREPROCESSOR = "preprocessor_config.json"
_TEXT = ("text_model.", "text_projection.", "logit_scale")
"""Tensors of a whole CLIP model that are not the image encoder's."""


@dataclass(frozen=True)
class _Encoder:
    model: Any
    processor: Any
    watch: Watch


class ImageEncoders:
    """The image encoders on one device."""

    def __init__(self, device: torch.device) -> None:
        """None is loaded yet."""
        self._device = device
        self._loaded: OrderedDict[tuple[object, ...], _Encoder] = OrderedDict()

    def encode(
        self, component: ComponentModel, pictures: Sequence[Image.Image], features: Features, *, allow_pickle: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of `pictures`, and their counterparts for classifier-free guidance.

        The steps are those of the pipelines' own `encode_image`, in one batch as there. [n, features] for the projected
        embedding, whose counterpart is zeros; [n, patches, features] for hidden states, whose counterpart are those of
        a picture of zeros.

        Raises:
            WeightsError: E5xx, the encoder cannot be loaded whole, or was overwritten until now; E644, its
                preprocessing does not fit it.
        """
        encoder = self._encoder(component, allow_pickle=allow_pickle)
        found = self._encoded(encoder, pictures, features)
        encoder.watch.check()
        return found

    def _encoded(
        self, encoder: _Encoder, pictures: Sequence[Image.Image], features: Features
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad(), quiet():
            pixels = encoder.processor(list(pictures), return_tensors="pt").pixel_values
            size = encoder.model.config.image_size
            if tuple(pixels.shape[-2:]) != (size, size):
                height, width = pixels.shape[-2:]
                message = (
                    f"the image encoder reads {size}x{size} pixels, and its {_PREPROCESSOR} makes {width}x{height}"
                )
                raise misfit("E644", message, "name the folder of an encoder whose preprocessing is its own")
            pixels = pixels.to(device=self._device, dtype=encoder.model.dtype)
            if features == "image_embeds":
                embeds = encoder.model(pixels).image_embeds
                return embeds, torch.zeros_like(embeds)
            states = encoder.model(pixels, output_hidden_states=True).hidden_states[-2]
            return states, encoder.model(torch.zeros_like(pixels), output_hidden_states=True).hidden_states[-2]

    def clear(self) -> None:
        """Let every encoder go."""
        self._loaded.clear()

    def _encoder(self, component: ComponentModel, *, allow_pickle: bool) -> _Encoder:
        key = component.source.digest, component.subfolder, component.variant, component.dtype
        if key not in self._loaded:
            self._loaded[key] = self._load(component, allow_pickle=allow_pickle)
        self._loaded.move_to_end(key)
        while len(self._loaded) > MOST_LOADED:
            self._loaded.popitem(last=False)
        return self._loaded[key]

    def _load(self, component: ComponentModel, *, allow_pickle: bool) -> _Encoder:
        watch = Watch.begin(component.source)
        folder = component.source.root / (component.subfolder or "")
        with quiet():
            # Importing it says which backend it falls back to; the manifest says so too.
            from transformers import CLIPImageProcessor  # noqa: PLC0415

            model = load_part(
                "image_encoder",
                CLIPVisionModelWithProjection,
                folder,
                dtype=component.dtype or "float32",
                variant=component.variant,
                allow_pickle=allow_pickle,
                beside=_TEXT if declared_class(folder) == WHOLE else (),
            )
            size = model.config.image_size
            processor = CLIPImageProcessor(size=size, crop_size=size)
            if (folder / _PREPROCESSOR).is_file():
                processor = load_part(
                    "image_encoder's preprocessor",
                    CLIPImageProcessor,
                    folder,
                    dtype="",
                    variant=None,
                    allow_pickle=False,
                )
        watch.check()
        return _Encoder(model.to(self._device), processor, watch)
