"""Which pipelines' steps are known: a pipeline of no known family is called from prompt to image in one step."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, AutoencoderTiny

from recipe_runner.pipelines.family import PIPELINE_FAMILIES, PipelineFamily

_DECODERS = (AutoencoderKL, AutoencoderTiny)

TEXT_PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3")
DENOISER_PARTS = ("unet", "transformer", "transformer_2")


def family_of(pipeline: Any) -> PipelineFamily | None:
    """The family of a pipeline; None when its steps, or those of its VAE, are not known."""
    is_known = isinstance(getattr(pipeline, "vae", None), _DECODERS)
    return PIPELINE_FAMILIES.get(type(pipeline).__name__) if is_known else None


def present_parts(pipeline: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` that the pipeline has and that are not null, in order."""
    return tuple(name for name in names if getattr(pipeline, name, None) is not None)
