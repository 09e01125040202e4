"""Does an image encoder give what an IP-Adapter reads? Asked of the encoder's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout
from recipe_runner.weights.problems import misfit

CLASS = "CLIPVisionModelWithProjection"
WHOLE = "CLIPModel"
"""A CLIP model with both its encoders, of which the image encoder is taken."""
_FACE = 512
_KNOWN: Mapping[tuple[str, int], str] = {
    ("projection_dim", 1024): "the ViT-H in models/image_encoder of h94/IP-Adapter",
    ("hidden_size", 1280): "the ViT-H in models/image_encoder of h94/IP-Adapter",
    ("projection_dim", 1280): "the ViT-bigG in sdxl_models/image_encoder of h94/IP-Adapter",
    ("hidden_size", 1664): "the ViT-bigG in sdxl_models/image_encoder of h94/IP-Adapter",
    ("projection_dim", 768): "openai/clip-vit-large-patch14",
    ("hidden_size", 1024): "openai/clip-vit-large-patch14",
}


def check_encoder(layout: IpAdapterLayout, config: Mapping[str, Any], label: str) -> None:
    """Raise E644 unless the encoder with this configuration gives embeddings of the width that the adapter reads.

    `config` is its config.json; of a whole CLIP model the part `vision_config` counts.
    """
    vision = config.get("vision_config") if isinstance(config.get("vision_config"), Mapping) else config
    named = (config.get("architectures") or [None])[0]
    if isinstance(named, str) and named not in (CLASS, WHOLE):
        hint = f"name the folder of one, or of a whole {WHOLE}"
        raise misfit("E644", f"{label}: the image encoder is a {named}, and a {CLASS} is wanted", hint)
    key = "hidden_size" if layout.reads_hidden_states else "projection_dim"
    # transformers' own defaults for what a config.json leaves out (CLIPVisionConfig).
    width = (vision or config).get(key, 768 if key == "hidden_size" else 512)
    if width != layout.image_width:
        message = f"{label}: this {layout.name} reads {layout.image_width} features of an image encoder's {key}"
        known = _KNOWN.get((key, layout.image_width or 0))
        hint = f"it was made for an encoder such as {known}" if known else "name the encoder that it was trained with"
        if (layout.variant, layout.image_width) == ("plus", _FACE):
            hint = "it looks like InstantID's, which reads face embeddings and works with a ControlNet of its own"
        raise misfit("E644", f"{message}, and this encoder has {width}", hint)
