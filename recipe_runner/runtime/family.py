"""Which pipelines' protocols are known: how they take embeddings, which parts they have, how they decode latents.

A pipeline of no known family still runs, by its own call from prompt to picture; it only shares less between images.
"""

from __future__ import annotations

from typing import Any, Literal

from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    FluxPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)

Family = Literal["sd", "sdxl", "sd3", "flux", "other"]

# Exact classes: a subclass or a relative may change any step of the protocol.
_FAMILIES: dict[type[Any], Family] = {
    StableDiffusionPipeline: "sd",
    StableDiffusionXLPipeline: "sdxl",
    StableDiffusion3Pipeline: "sd3",
    FluxPipeline: "flux",
}
_DECODERS = (AutoencoderKL, AutoencoderTiny)

TEXT_PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3")
DENOISER_PARTS = ("unet", "transformer", "transformer_2")


def family_of(pipeline: Any) -> Family:
    """The family of a pipeline; `other` when its protocol, or that of its VAE, is not known."""
    family = _FAMILIES.get(type(pipeline), "other")
    return family if isinstance(getattr(pipeline, "vae", None), _DECODERS) else "other"


def present_parts(pipeline: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` that the pipeline has and that are not null, in order."""
    return tuple(name for name in names if getattr(pipeline, name, None) is not None)
