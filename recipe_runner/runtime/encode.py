"""encode_prompt: embeddings of a prompt by a pipeline's text encoders, computed once and used for many images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from recipe_runner.pipelines.family import PipelineFamily
from recipe_runner.problems.problem import Problem
from recipe_runner.runtime.family import family_of
from recipe_runner.runtime.textual_inversion.prompt_warnings import prompt_warnings

PROMPTS = ("prompt", "prompt_2", "prompt_3")

T = TypeVar("T")


@dataclass(frozen=True)
class Conditioning:
    """The arguments of the pipeline's call for one prompt, on the CPU or the device; never changed in place.

    For a known family these are embeddings ([1, tokens, features], pooled [1, features]); for another pipeline the
    texts of the prompt. `warnings` name the words that the encoders did not read.
    """

    arguments: Mapping[str, Any]
    warnings: tuple[Problem, ...] = ()


def encode_prompt(
    pipeline: Any,
    prompt: Mapping[str, str | None],
    *,
    guided: bool,
    clip_skip: int | None = None,
    max_sequence_length: int | None = None,
) -> Conditioning:
    """Encode one prompt as the pipeline's own call would, so that its images have the same bits.

    Args:
        pipeline: a pipeline whose text encoders are in the state of the prompt's handle.
        prompt: `prompt`, `prompt_2`, `negative_prompt`, …; None is the same as absent.
        guided: whether the images use classifier-free guidance, and therefore the negative prompt.
        clip_skip: layers of the CLIP encoders to skip, as diffusers counts them.
        max_sequence_length: tokens of a T5 encoder.
    """
    family = family_of(pipeline)
    given = _without_none(prompt)
    warnings = prompt_warnings(pipeline, given, guided=guided, max_sequence_length=max_sequence_length)
    options = _without_none({"clip_skip": clip_skip, "max_sequence_length": max_sequence_length})
    if family is None:
        return Conditioning({**given, **options}, warnings)
    with torch.no_grad():
        if family.guided_by_negative:
            found = _flux(pipeline, given, guided, max_sequence_length)
        elif family.prompts == 1:
            found = _single(pipeline, given, guided, clip_skip)
        else:
            found = _several(pipeline, family, given, guided, options)
    return Conditioning(_without_none(found), warnings)


def _without_none(values: Mapping[str, T | None]) -> dict[str, T]:
    return {name: value for name, value in values.items() if value is not None}


def _single(
    pipeline: Any,
    given: Mapping[str, str],
    guided: bool,  # noqa: FBT001 - an argument passed on
    clip_skip: int | None,
) -> dict[str, torch.Tensor | None]:
    """The embeddings of a pipeline with one text encoder."""
    device = _device(pipeline)
    prompt: str | None = given["prompt"]
    embeds = None
    if clip_skip is not None:
        prompt, embeds = None, _skipped(pipeline, given["prompt"], clip_skip, device)
    positive, negative = pipeline.encode_prompt(
        prompt, device, 1, guided, given.get("negative_prompt"), prompt_embeds=embeds
    )
    return {"prompt_embeds": positive, "negative_prompt_embeds": negative if guided else None}


def _several(
    pipeline: Any,
    family: PipelineFamily,
    given: Mapping[str, str],
    guided: bool,  # noqa: FBT001 - an argument passed on
    options: Mapping[str, int],
) -> dict[str, torch.Tensor | None]:
    """The embeddings of a pipeline with a text encoder for each of several prompts."""
    arguments: dict[str, Any] = {"clip_skip": options.get("clip_skip")}
    for name in PROMPTS[: family.prompts]:
        arguments[name] = given.get(name)
        arguments[f"negative_{name}"] = given.get(f"negative_{name}")
    if family.t5_length and "max_sequence_length" in options:
        arguments["max_sequence_length"] = options["max_sequence_length"]
    values = pipeline.encode_prompt(
        **arguments, device=_device(pipeline), num_images_per_prompt=1, do_classifier_free_guidance=guided
    )
    found = dict(zip(family.embeddings, values, strict=True))
    if not guided:
        for name in family.embeddings:
            if name.startswith("negative"):
                del found[name]
    return found


def _flux(
    pipeline: Any,
    given: Mapping[str, str],
    guided: bool,  # noqa: FBT001 - an argument passed on
    max_sequence_length: int | None,
) -> dict[str, torch.Tensor | None]:
    def encoded(prefix: str) -> tuple[torch.Tensor, torch.Tensor]:
        embeds, pooled, _ = pipeline.encode_prompt(
            prompt=given.get(f"{prefix}prompt"),
            prompt_2=given.get(f"{prefix}prompt_2"),
            device=_device(pipeline),
            num_images_per_prompt=1,
            **length,
        )
        return embeds, pooled

    length = _without_none({"max_sequence_length": max_sequence_length})
    embeds, pooled = encoded("")
    found: dict[str, torch.Tensor | None] = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    # Flux uses guidance only with a negative prompt (and with true_cfg_scale above 1).
    if guided and "negative_prompt" in given:
        embeds, pooled = encoded("negative_")
        found |= {"negative_prompt_embeds": embeds, "negative_pooled_prompt_embeds": pooled}
    return found


def _device(pipeline: Any) -> torch.device:
    device: torch.device = pipeline._execution_device  # noqa: SLF001 - what the pipeline's own call uses
    return device


def _skipped(pipeline: Any, prompt: str, clip_skip: int, device: torch.device) -> torch.Tensor:
    # diffusers 0.42.1 reads the encoder's `.text_model`, which transformers 5 does not have: these are the same steps.
    encoder, tokenizer = pipeline.text_encoder, pipeline.tokenizer
    inputs = tokenizer(
        pipeline.maybe_convert_prompt(prompt, tokenizer),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    mask = inputs.attention_mask.to(device) if getattr(encoder.config, "use_attention_mask", False) else None
    states = encoder(inputs.input_ids.to(device), attention_mask=mask, output_hidden_states=True).hidden_states
    norm: Callable[[torch.Tensor], torch.Tensor] = getattr(encoder, "text_model", encoder).final_layer_norm
    return norm(states[-(clip_skip + 1)])
