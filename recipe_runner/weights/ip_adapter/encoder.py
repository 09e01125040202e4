"""Check from an image encoder's configuration that it gives what an IP-Adapter reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout
from recipe_runner.weights.ip_adapter.variants import EncoderReading

_FACE = 512
_KNOWN: Mapping[tuple[str, str, int], str] = {
    ("CLIPVisionModelWithProjection", "projection_dim", 1024): "the ViT-H in models/image_encoder of h94/IP-Adapter",
    ("CLIPVisionModelWithProjection", "hidden_size", 1280): "the ViT-H in models/image_encoder of h94/IP-Adapter",
    ("CLIPVisionModelWithProjection", "projection_dim", 1280): (
        "the ViT-bigG in sdxl_models/image_encoder of h94/IP-Adapter"
    ),
    ("CLIPVisionModelWithProjection", "hidden_size", 1664): (
        "the ViT-bigG in sdxl_models/image_encoder of h94/IP-Adapter"
    ),
    ("CLIPVisionModelWithProjection", "projection_dim", 768): "openai/clip-vit-large-patch14",
    ("CLIPVisionModelWithProjection", "hidden_size", 1024): "openai/clip-vit-large-patch14",
    ("SiglipVisionModel", "hidden_size", 1152): "google/siglip-so400m-patch14-384",
}


def check_encoder(layout: IpAdapterLayout, config: Mapping[str, Any], label: str) -> None:
    """Raise E644 unless the encoder with this configuration gives embeddings of the width that the adapter reads.

    `config` is its config.json; of a model that has a text encoder too, only the part `vision_config` is read.
    """
    reading = layout.reading
    if reading is None:
        return
    known = _KNOWN.get((reading.encoder, reading.width, layout.image_width or 0))
    _check_class(config.get("architectures"), reading, known, label)
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping) or not vision:
        vision = config
    width = vision.get(reading.width, reading.default)
    if width == layout.image_width:
        return
    hint = "name the encoder that it was trained with"
    if known is not None:
        hint = f"it was made for an encoder such as {known}"
    if (layout.variant, layout.image_width) == ("plus", _FACE):
        hint = "it looks like InstantID's, which reads face embeddings and works with its own ControlNet"
    message = f"{label}: this {layout.name} reads {layout.image_width} features of an image encoder's {reading.width}"
    raise WeightsError.of("E644", f"{message}, and this encoder has {width}", hint)


def _check_class(architectures: object, reading: EncoderReading, known: str | None, label: str) -> None:
    """Raise E644 when a configuration names the class of another encoder."""
    named = architectures
    if isinstance(named, list):
        named = next(iter(named), None)
    if not isinstance(named, str) or named in (reading.encoder, reading.whole):
        return
    hint = f"name the folder of one, or of a whole {reading.whole}"
    if known is not None:
        hint += f", such as {known}"
    raise WeightsError.of("E644", f"{label}: the image encoder is a {named}, expected a {reading.encoder}", hint)
