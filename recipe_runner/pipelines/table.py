"""The parameters of diffusers' pipelines and schedulers, from a shipped table, so that diffusers is not imported.

`recipe_runner.runtime.write_table` writes the table from the version of diffusers that this package is tested with.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recipe_runner.canonical import Json

SUPPLIED: Mapping[str, str] = {
    "prompt": "Write prompts in the section `prompts`.",
    "prompt_2": "Write prompts in the section `prompts`, with `prompt_2` beside `prompt`.",
    "prompt_3": "Write prompts in the section `prompts`, with `prompt_3` beside `prompt`.",
    "negative_prompt": "Write negative prompts in the section `prompts`, beside `prompt`.",
    "negative_prompt_2": "Write negative prompts in the section `prompts`, beside `prompt`.",
    "negative_prompt_3": "Write negative prompts in the section `prompts`, beside `prompt`.",
    "prompt_embeds": "Prompts are encoded from the section `prompts`.",
    "negative_prompt_embeds": "Prompts are encoded from the section `prompts`.",
    "pooled_prompt_embeds": "Prompts are encoded from the section `prompts`.",
    "negative_pooled_prompt_embeds": "Prompts are encoded from the section `prompts`.",
    "prompt_attention_mask": "Prompts are encoded from the section `prompts`.",
    "negative_prompt_attention_mask": "Prompts are encoded from the section `prompts`.",
    "prompt_embeds_mask": "Prompts are encoded from the section `prompts`.",
    "negative_prompt_embeds_mask": "Prompts are encoded from the section `prompts`.",
    "prompt_embeds_scale": "Prompts are encoded from the section `prompts`.",
    "generator": "Each image has its own generator, with its seed from the section `seeds`.",
    "latents": "The noise comes from the seeds in the section `seeds`.",
    "num_images_per_prompt": "Write one seed for each image in the section `seeds`.",
    "output_type": "Set the file format with `output.format`.",
    "return_dict": "Delete it.",
    "callback": "Recipes cannot contain code: delete it.",
    "callback_steps": "Recipes cannot contain code: delete it.",
    "callback_on_step_end": "Recipes cannot contain code: delete it.",
    "callback_on_step_end_tensor_inputs": "Recipes cannot contain code: delete it.",
    "ip_adapter_image": "Add an adapter of kind ip_adapter with an `image`.",
    "ip_adapter_image_embeds": "Add an adapter of kind ip_adapter with `image_embeds`.",
    "negative_ip_adapter_image": "Add an adapter of kind ip_adapter with an `image`.",
    "negative_ip_adapter_image_embeds": "Add an adapter of kind ip_adapter with `image_embeds`.",
    "image": "Recipes make images from text. For an image prompt, add an adapter of kind ip_adapter.",
    "images": "Recipes make images from text. For an image prompt, add an adapter of kind ip_adapter.",
    "cross_attention_kwargs": "Set the `scale` of the adapter.",
    "joint_attention_kwargs": "Set the `scale` of the adapter.",
    "attention_kwargs": "Set the `scale` of the adapter.",
}
"""Arguments of the pipeline call that recipe_runner supplies, and what to write in a recipe instead."""
_SUPPLIED_TOO = re.compile("prompt.*(embed|mask|cu_seqlens)|callback|latents$|^(negative_)?prompt(_[0-9])?$")


def where_supplied(name: str) -> str | None:
    """What to write instead of an argument that recipe_runner supplies; None for every other argument."""
    if name in SUPPLIED:
        return SUPPLIED[name]
    if _SUPPLIED_TOO.search(name):
        return "recipe_runner supplies it: delete it."
    return None


@cache
def table() -> Mapping[str, Any]:
    """The whole table."""
    text = (files("recipe_runner.pipelines") / "diffusers.json").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


def pipelines() -> Mapping[str, Mapping[str, Any]]:
    """Text-to-image pipelines: `parameters` of the call with defaults, `components`, `mixins`, `lora` modules."""
    found: Mapping[str, Mapping[str, Any]] = table()["pipelines"]
    return found


def other_pipelines() -> Sequence[str]:
    """The other pipelines of diffusers, which are not text-to-image."""
    found: Sequence[str] = table()["other_pipelines"]
    return found


def schedulers() -> Mapping[str, Mapping[str, Any]]:
    """Schedulers: `config` parameters with defaults, whether `step` takes a `generator`, `compatibles`."""
    found: Mapping[str, Mapping[str, Any]] = table()["schedulers"]
    return found


def call_parameters(pipeline: str | None) -> Mapping[str, Json]:
    """The arguments that `sampling` can set, with their defaults (null for none); for an unknown pipeline, all."""
    entry = pipelines().get(pipeline or "")
    entries = pipelines().values() if entry is None else [entry]
    found: dict[str, Json] = {}
    for known in entries:
        found |= {name: value for name, value in known["parameters"].items() if where_supplied(name) is None}
    return found


def call_value(name: str, value: Json) -> Any:
    """An argument as the call takes it. Pipelines add up sizes as tuples, which JSON stores as lists."""
    if isinstance(value, (list, tuple)) and name.endswith(("_size", "_top_left")):
        return tuple(value)
    return value


def call_defaults(pipeline: str) -> Mapping[str, Json]:
    """The defaults of the arguments that `sampling` can set; empty for an unknown pipeline."""
    if pipeline not in pipelines():
        return {}
    return {name: value for name, value in call_parameters(pipeline).items() if value is not None}
