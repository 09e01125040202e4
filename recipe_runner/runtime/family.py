"""The family of a pipeline. A pipeline of an unknown family is called from prompt to image in one step."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, AutoencoderTiny

from recipe_runner.pipelines.family import PIPELINE_FAMILIES, PipelineFamily

_DECODERS = (AutoencoderKL, AutoencoderTiny)

TEXT_PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3")
DENOISER_PARTS = ("unet", "transformer", "transformer_2")


def family_of(pipeline: Any) -> PipelineFamily | None:
    """The family of a pipeline; None if its steps, or those of its VAE, are unknown."""
    if not isinstance(getattr(pipeline, "vae", None), _DECODERS):
        return None
    return PIPELINE_FAMILIES.get(type(pipeline).__name__)


def present_parts(pipeline: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """The components among `names` that the pipeline has, in order."""
    return tuple(name for name in names if getattr(pipeline, name, None) is not None)
