"""decode: from latents to pictures, by the same steps as the pipelines themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recipe_runner.pipelines.family import PipelineFamily
from recipe_runner.problems.place import NOWHERE
from recipe_runner.problems.problem import OperationFailed, Problem
from recipe_runner.runtime.denoise import Latents

Picture = np.ndarray[Any, np.dtype[np.uint8]]
"""uint8 [H, W, 3], red green blue."""


def decode(pipeline: Any, latents: Latents) -> tuple[list[Picture], tuple[Problem, ...]]:
    """The pictures of `latents`, and warnings (W752 where a safety checker blackened one).

    Raises:
        OperationFailed: E705 when the decoder's output is not finite.
    """
    if not isinstance(latents.value, torch.Tensor):
        return _rounded(latents.value), ()
    with torch.no_grad():
        images: Any = _decoded(pipeline, latents, latents.value)
        if not bool(torch.isfinite(images).all()):
            raise OperationFailed.of(
                "E705",
                "decoding gave numbers that are not finite",
                "give the VAE float32 (`base.components.vae: {model: …, dtype: float32}`) or use one made for float16",
            )
        keep = [True] * len(images)
        if latents.family is not None and latents.family.checks_safety:
            images, flagged = pipeline.run_safety_checker(images, images.device, pipeline.unet.dtype)
            keep = keep if flagged is None else [not bool(each) for each in flagged]
        watermark = getattr(pipeline, "watermark", None)
        if watermark is not None:
            images = watermark.apply_watermark(images)
        pictures = _rounded(pipeline.image_processor.postprocess(images, output_type="np", do_denormalize=keep))
    black = [index + 1 for index, kept in enumerate(keep) if not kept]
    if not black:
        return pictures, ()
    message = f"the model's safety checker made picture {', '.join(map(str, black))} black"
    return pictures, (
        Problem.warning(
            NOWHERE, "W752", message, "another seed may pass; `base.components.safety_checker: null` leaves it out"
        ),
    )


def _decoded(pipeline: Any, latents: Latents, value: torch.Tensor) -> Any:
    vae, config = pipeline.vae, pipeline.vae.config
    # SDXL's first VAE overflows in half precision; its pipeline decodes in float32 and casts back.
    family = latents.family
    asked = family is not None and family.upcasts_vae and getattr(config, "force_upcast", False)
    upcast = asked and vae.dtype == torch.float16
    try:
        if upcast:
            pipeline.upcast_vae()
        if family is not None and family.packed:
            unpack = pipeline._unpack_latents  # noqa: SLF001 - the pipeline's own step
            value = unpack(value, latents.height, latents.width, pipeline.vae_scale_factor)
        # The pipelines leave this cast out and fail when the VAE has a data type of its own.
        value = _unscaled(value.to(_input_dtype(vae)), config, family)
        return vae.decode(value, return_dict=False)[0]
    finally:
        if upcast:
            vae.to(dtype=torch.float16)


def _input_dtype(vae: Any) -> Any:
    # After upcasting, some layers may stay in half precision; the first layer that reads the latents decides.
    first = getattr(vae, "post_quant_conv", None)
    return next(first.parameters()).dtype if first is not None else vae.dtype


def _unscaled(value: Any, config: Any, family: PipelineFamily | None) -> Any:
    if family is not None and family.shifted:
        return (value / config.scaling_factor) + config.shift_factor
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if family is not None and family.standardised and mean is not None and std is not None:
        means = torch.tensor(mean).view(1, 4, 1, 1).to(value.device, value.dtype)
        deviations = torch.tensor(std).view(1, 4, 1, 1).to(value.device, value.dtype)
        return value * deviations / config.scaling_factor + means
    return value / config.scaling_factor


def _rounded(images: Any) -> list[Picture]:
    # As diffusers' numpy_to_pil: halves go to even.
    pictures = (np.asarray(images) * 255).round().astype(np.uint8)
    return [np.repeat(each, 3, axis=2) if each.shape[2] == 1 else each for each in pictures]
