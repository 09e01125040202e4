"""encode_prompt: what a pipeline's text encoders make of a prompt, computed once and used for many images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from recipe_runner.pipelines.family import PipelineFamily
from recipe_runner.problems.problem import Problem
from recipe_runner.runtime.family import family_of
from recipe_runner.runtime.textual_inversion.prompt_warnings import prompt_warnings

PROMPTS = ("prompt", "prompt_2", "prompt_3")


@dataclass(frozen=True)
class Conditioning:
    """Arguments that stand for a prompt in the pipeline's call, on the CPU or the device; never changed in place.

    For a known family these are embeddings, each of one prompt ([1, tokens, features], pooled [1, features]); for
    another pipeline the prompts' own texts. `warnings` say which words the encoders did not read.
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
    """Encode one prompt as the pipeline's own call would, so that its images stay the same bit for bit.

    Args:
        pipeline: a pipeline whose text encoders are in the state that the prompt's handle asks for.
        prompt: `prompt`, `prompt_2`, `negative_prompt`, …; what is None or absent was not given.
        guided: whether the images use classifier-free guidance, and so the negative prompt.
        clip_skip: layers of the CLIP encoders to skip, counted as diffusers counts them.
        max_sequence_length: tokens of a T5 encoder.
    """
    family = family_of(pipeline)
    given = {name: text for name, text in prompt.items() if text is not None}
    warnings = prompt_warnings(pipeline, given, guided=guided, max_sequence_length=max_sequence_length)
    if family is None:
        extra = {"clip_skip": clip_skip, "max_sequence_length": max_sequence_length}
        return Conditioning({**given, **{k: v for k, v in extra.items() if v is not None}}, warnings)
    with torch.no_grad():
        found = _embeddings(pipeline, family, given, guided, clip_skip, max_sequence_length)
    return Conditioning({name: value for name, value in found.items() if value is not None}, warnings)


def _embeddings(
    pipeline: Any,
    family: PipelineFamily,
    given: Mapping[str, str],
    guided: bool,  # noqa: FBT001 - an argument passed on
    clip_skip: int | None,
    max_sequence_length: int | None,
) -> dict[str, torch.Tensor | None]:
    device = pipeline._execution_device  # noqa: SLF001 - what the pipeline's own call uses
    length = {} if max_sequence_length is None else {"max_sequence_length": max_sequence_length}
    texts = {name: given.get(name) for name in PROMPTS}
    negatives = {f"negative_{name}": given.get(f"negative_{name}") for name in PROMPTS}
    if family.guided_by_negative:
        return _flux(pipeline, texts, negatives, device, guided, length)
    if family.prompts == 1:
        embeds = None if clip_skip is None else _skipped(pipeline, given["prompt"], clip_skip, device)
        positive, negative = pipeline.encode_prompt(
            None if embeds is not None else given["prompt"],
            device,
            1,
            guided,
            given.get("negative_prompt"),
            prompt_embeds=embeds,
        )
        return {"prompt_embeds": positive, "negative_prompt_embeds": negative if guided else None}
    chosen = {name: texts[name] for name in PROMPTS[: family.prompts]}
    chosen |= {f"negative_{name}": negatives[f"negative_{name}"] for name in PROMPTS[: family.prompts]}
    values = pipeline.encode_prompt(
        **chosen,
        device=device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=guided,
        clip_skip=clip_skip,
        **(length if family.t5_length else {}),
    )
    found = dict(zip(family.embeddings, values, strict=True))
    return {name: value for name, value in found.items() if guided or not name.startswith("negative")}


def _flux(
    pipeline: Any,
    texts: Mapping[str, str | None],
    negatives: Mapping[str, str | None],
    device: torch.device,
    guided: bool,  # noqa: FBT001 - an argument passed on
    length: Mapping[str, int],
) -> dict[str, torch.Tensor | None]:
    def encoded(prompt: str | None, prompt_2: str | None) -> tuple[torch.Tensor, torch.Tensor]:
        embeds, pooled, _ = pipeline.encode_prompt(
            prompt=prompt, prompt_2=prompt_2, device=device, num_images_per_prompt=1, **length
        )
        return embeds, pooled

    embeds, pooled = encoded(texts["prompt"], texts["prompt_2"])
    found: dict[str, torch.Tensor | None] = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    # Flux guides with a negative prompt only where one is given (and true_cfg_scale is above 1).
    if guided and negatives["negative_prompt"] is not None:
        embeds, pooled = encoded(negatives["negative_prompt"], negatives["negative_prompt_2"])
        found |= {"negative_prompt_embeds": embeds, "negative_pooled_prompt_embeds": pooled}
    return found


def _skipped(pipeline: Any, prompt: str, clip_skip: int, device: torch.device) -> torch.Tensor:
    # diffusers 0.42.1 asks the encoder for `.text_model`, which transformers 5 does not have: the same steps by hand.
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
