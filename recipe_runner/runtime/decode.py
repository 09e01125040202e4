"""decode: from latents to images, by the same steps as the pipelines themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recipe_runner.pipelines.family import PipelineFamily
from recipe_runner.problems.place import NOWHERE
from recipe_runner.problems.problem import OperationFailed, Problem
from recipe_runner.runtime.denoise import Latents

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""uint8 [H, W, 3], red green blue."""


def decode(pipeline: Any, latents: Latents) -> tuple[list[Pixels], tuple[Problem, ...]]:
    """The images of `latents`, and warnings (W752 if the safety checker made one black).

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
            if flagged is not None:
                keep = [not flag for flag in flagged]
        watermark = getattr(pipeline, "watermark", None)
        if watermark is not None:
            images = watermark.apply_watermark(images)
        decoded = _rounded(pipeline.image_processor.postprocess(images, output_type="np", do_denormalize=keep))
    black = [str(number) for number, kept in enumerate(keep, 1) if not kept]
    if not black:
        return decoded, ()
    message = f"the model's safety checker made image {', '.join(black)} black"
    hint = "try another seed, or leave the checker out with `base.components.safety_checker: null`"
    return decoded, (Problem.warning(NOWHERE, "W752", message, hint),)


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
        # The pipelines do not cast, and fail if the VAE has another data type.
        value = _unscaled(value.to(_input_dtype(vae)), config, family)
        return vae.decode(value, return_dict=False)[0]
    finally:
        if upcast:
            vae.to(dtype=torch.float16)


def _input_dtype(vae: Any) -> Any:
    # After upcasting, some layers may stay in half precision; the type of the first layer that reads latents counts.
    first = getattr(vae, "post_quant_conv", None)
    return vae.dtype if first is None else next(first.parameters()).dtype


def _unscaled(value: Any, config: Any, family: PipelineFamily | None) -> Any:
    if family is not None and family.shifted:
        return (value / config.scaling_factor) + config.shift_factor
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if family is not None and family.standardised and mean is not None and std is not None:
        means = torch.tensor(mean).view(1, 4, 1, 1).to(value.device, value.dtype)
        deviations = torch.tensor(std).view(1, 4, 1, 1).to(value.device, value.dtype)
        return value * deviations / config.scaling_factor + means
    return value / config.scaling_factor


def _rounded(images: Any) -> list[Pixels]:
    # As diffusers' numpy_to_pil: halves round to even.
    pixels = (np.asarray(images) * 255).round().astype(np.uint8)
    if pixels.shape[3] == 1:
        pixels = np.repeat(pixels, 3, axis=3)
    return list(pixels)
