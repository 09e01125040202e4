"""Does an image encoder give what an IP-Adapter reads? Asked of the encoder's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout

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

    `config` is its config.json; of a whole model with a text encoder too the part `vision_config` counts.
    """
    reading = layout.reading
    if reading is None:
        return
    vision = config.get("vision_config") if isinstance(config.get("vision_config"), Mapping) else config
    known = _KNOWN.get((reading.encoder, reading.width, layout.image_width or 0))
    named = config.get("architectures")
    named = named[0] if isinstance(named, list) and named else named
    if isinstance(named, str) and named not in (reading.encoder, reading.whole):
        hint = f"name the folder of one, or of a whole {reading.whole}" + (f", such as {known}" if known else "")
        raise WeightsError.of(
            "E644", f"{label}: the image encoder is a {named}, and a {reading.encoder} is wanted", hint
        )
    width = (vision or config).get(reading.width, reading.default)
    if width != layout.image_width:
        message = f"{label}: this {layout.name} reads {layout.image_width} features of an image encoder's"
        hint = f"it was made for an encoder such as {known}" if known else "name the encoder that it was trained with"
        if (layout.variant, layout.image_width) == ("plus", _FACE):
            hint = "it looks like InstantID's, which reads face embeddings and works with a ControlNet of its own"
        raise WeightsError.of("E644", f"{message} {reading.width}, and this encoder has {width}", hint)
