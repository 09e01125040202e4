"""The variants of IP-Adapter: the usual name of each, and which output of an image encoder it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

AdapterVariant = Literal["base", "plus", "full", "faceid", "faceid_plus", "flux", "sd3"]

FLUX: Final = "flux"
SD3: Final = "sd3"

NAMES: Mapping[AdapterVariant, str] = {
    "base": "IP-Adapter",
    "plus": "IP-Adapter Plus",
    "full": "IP-Adapter Full Face",
    "faceid": "IP-Adapter FaceID",
    "faceid_plus": "IP-Adapter FaceID Plus",
    FLUX: "IP-Adapter for Flux",
    SD3: "IP-Adapter for Stable Diffusion 3",
}

Features = Literal["image_embeds", "hidden_states", "flux_image_embeds", "siglip_hidden_states"]
"""The output of an image encoder that is read, in the way of a family's pipelines (their `encode_image`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderReading:
    """How an image encoder is read.

    Attributes:
        encoder: its class in transformers.
        whole: the class of a model that has a text encoder too, of which the encoder is a part.
        width: the entry of its config.json with the number of features.
        default: the number of features without that entry (transformers' own defaults).
        patches: whether there is a row of features for each patch of an image, and not one for the whole image.
        zeros: whether classifier-free guidance steers away from zeros. Else it steers away from the encoder's output
            for an empty image: pixels that are zero, or a black image.
        paired: whether an array of one dimension more than one image's is its negative and positive embedding, as
            `prepare_ip_adapter_image_embeds` gives it, and not several images.
    """

    encoder: str
    whole: str
    width: str
    default: int
    patches: bool
    zeros: bool
    paired: bool = False


_CLIP, _SIGLIP = ("CLIPVisionModelWithProjection", "CLIPModel"), ("SiglipVisionModel", "SiglipModel")

READINGS: Mapping[Features, EncoderReading] = {
    "image_embeds": EncoderReading(
        encoder=_CLIP[0], whole=_CLIP[1], width="projection_dim", default=512, patches=False, zeros=True
    ),
    "hidden_states": EncoderReading(
        encoder=_CLIP[0], whole=_CLIP[1], width="hidden_size", default=768, patches=True, zeros=False
    ),
    "flux_image_embeds": EncoderReading(
        encoder=_CLIP[0], whole=_CLIP[1], width="projection_dim", default=512, patches=False, zeros=False
    ),
    "siglip_hidden_states": EncoderReading(
        encoder=_SIGLIP[0], whole=_SIGLIP[1], width="hidden_size", default=768, patches=True, zeros=True, paired=True
    ),
}

FEATURES: Mapping[AdapterVariant, Features | None] = {
    "base": "image_embeds",
    "plus": "hidden_states",
    "full": "hidden_states",
    "faceid": None,
    "faceid_plus": "hidden_states",
    FLUX: "flux_image_embeds",
    SD3: "siglip_hidden_states",
}
"""What each variant reads; None for one without an image encoder."""
