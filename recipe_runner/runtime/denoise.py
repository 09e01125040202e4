"""denoise: from noise to latents, by the pipeline's own call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import PipelineFamily
from recipe_runner.pipelines.guidance import is_guided as guided_call
from recipe_runner.pipelines.table import call_value
from recipe_runner.problems.problem import OperationFailed
from recipe_runner.problems.suggest import did_you_mean
from recipe_runner.runtime.encode import Conditioning
from recipe_runner.runtime.family import family_of
from recipe_runner.runtime.load.schedulers import fresh_scheduler

OnStep = Callable[[int, int], None]
"""Called after each denoising step with its number from 1 and the number of steps."""

_OURS = (
    "prompt",
    "generator",
    "latents",
    "output_type",
    "return_dict",
    "num_images_per_prompt",
    "callback_on_step_end",
)
"""Arguments of the call that this package passes itself."""


@dataclass(frozen=True)
class Latents:
    """Images before decoding. `value` is [n, channels, h, w] latents, or [n, tokens, channels] packed.

    Without a `family` it is decoded images, float [n, H, W, 3] in 0..1.
    `height` and `width` are in pixels.
    """

    value: torch.Tensor | np.ndarray[Any, np.dtype[np.float32]]
    family: PipelineFamily | None
    height: int
    width: int


def denoise(
    pipeline: Any,
    scheduler: Any,
    conditionings: Sequence[Conditioning],
    seeds: Sequence[int],
    sampling: Mapping[str, Json],
    on_step: OnStep | None = None,
    more: Mapping[str, Any] | None = None,
) -> Latents:
    """Denoise one image for each conditioning and seed, as one batch.

    The noise of each image comes from a fresh generator on the CPU, so it is the same on every device. The call uses a
    copy of `scheduler`. `more` are arguments of the call for image prompts.

    Raises:
        OperationFailed: E706 for an argument that the call does not take, E705 when the latents are not finite.
    """
    family = family_of(pipeline)
    check_sampling(pipeline, sampling)
    pipeline.scheduler = fresh_scheduler(scheduler, seeds[0])
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    height, width = call_size(pipeline, sampling)
    arguments = {
        **{name: call_value(name, value) for name, value in sampling.items()},
        **_joined(pipeline, family, conditionings),
        **(more or {}),
        "generator": generators[0] if len(seeds) == 1 else generators,
        "output_type": "np" if family is None else "latent",
        "return_dict": True,
    }
    if family is not None:
        # The text is already encoded with it.
        arguments.pop("clip_skip", None)
    takes = inspect.signature(type(pipeline).__call__).parameters
    for name, value in arguments.items():
        # JSON has no tuples, and pipelines concatenate them (SDXL's `crops_coords_top_left`).
        if isinstance(value, list) and name in takes and "tuple" in str(takes[name].annotation).lower():
            arguments[name] = tuple(value)
    if "callback_on_step_end" in takes:
        arguments["callback_on_step_end"] = _callback(on_step)
    with torch.no_grad():
        value = pipeline(**arguments).images
    _check_finite(value)
    return Latents(value, family, height, width)


def check_sampling(pipeline: Any, sampling: Mapping[str, Json]) -> None:
    """Raise E706 unless the pipeline's call takes every argument of `sampling`."""
    parameters = inspect.signature(type(pipeline).__call__).parameters
    known = [name for name in parameters if name not in ("self", "kwargs", *_OURS)]
    for name in sampling:
        if name not in known:
            hint = did_you_mean(name, known, "It takes")
            raise OperationFailed.of("E706", f"{type(pipeline).__name__} takes no argument `{name}`", hint)


def call_size(pipeline: Any, sampling: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width, in pixels, of the images that a call makes."""
    return image_size(pipeline, family_of(pipeline), sampling)


def is_guided(pipeline: Any, sampling: Mapping[str, Any], conditionings: Sequence[Conditioning]) -> bool:
    """Whether a call uses classifier-free guidance."""
    texts = set()
    for conditioning in conditionings:
        for name in conditioning.arguments:
            texts.add(name.removesuffix("_embeds"))
    config = getattr(getattr(pipeline, "unet", None), "config", None)
    is_distilled = getattr(config, "time_cond_proj_dim", None) is not None
    return guided_call(type(pipeline).__name__, sampling, texts, is_distilled=is_distilled)


def image_size(pipeline: Any, family: PipelineFamily | None, sampling: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width in pixels: those of `sampling`, else the model's own."""
    if family is None:
        return int(sampling.get("height") or 0), int(sampling.get("width") or 0)
    if family.size_from_denoiser:
        size = pipeline.unet.config.sample_size
        rows = columns = size
        if not isinstance(size, int):
            rows, columns = size
        if not sampling.get("height") or not sampling.get("width"):
            # This pipeline uses its own size unless both are given.
            return rows * pipeline.vae_scale_factor, columns * pipeline.vae_scale_factor
    else:
        rows = columns = pipeline.default_sample_size
    height = sampling.get("height") or rows * pipeline.vae_scale_factor
    width = sampling.get("width") or columns * pipeline.vae_scale_factor
    return int(height), int(width)


def _joined(pipeline: Any, family: PipelineFamily | None, conditionings: Sequence[Conditioning]) -> dict[str, Any]:
    """The arguments of all conditionings as those of one batch."""
    if family is None:
        return _joined_texts(conditionings)
    denoiser = getattr(pipeline, family.denoiser)
    # A text encoder may have another data type. A model's `device` and `dtype` search all its modules.
    first = next(parameter for parameter in denoiser.parameters() if parameter.is_floating_point())
    found = {}
    for name in conditionings[0].arguments:
        parts = [conditioning.arguments[name] for conditioning in conditionings]
        found[name] = torch.cat(parts).to(first.device, first.dtype)
    return found


def _joined_texts(conditionings: Sequence[Conditioning]) -> dict[str, Any]:
    first = conditionings[0].arguments
    if len(conditionings) == 1:
        return dict(first)
    found = {}
    for conditioning in conditionings:
        for name in conditioning.arguments:
            if "prompt" in name:
                found[name] = [each.arguments.get(name, "") for each in conditionings]
            else:
                found[name] = first[name]
    return found


def _callback(on_step: OnStep | None) -> Callable[..., dict[str, Any]]:
    def callback(pipeline: Any, step: int, _timestep: Any, state: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:
            on_step(step + 1, int(pipeline.num_timesteps))
        return state

    return callback


def _check_finite(value: Any) -> None:
    isfinite: Any = np.isfinite
    if isinstance(value, torch.Tensor):
        isfinite = torch.isfinite
    if not bool(isfinite(value).all()):
        raise OperationFailed.of(
            "E705",
            "denoising gave numbers that are not finite",
            "try base.dtype: float32 or bfloat16, another scheduler, or smaller scales",
        )
