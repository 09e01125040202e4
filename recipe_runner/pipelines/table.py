"""What diffusers' pipelines and schedulers take, from the shipped table: no import of diffusers.

`recipe_runner.runtime.write_table` writes the table from the version of diffusers that this package is proved with.
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
    "prompt": "Prompts stand in the section `prompts`.",
    "prompt_2": "Prompts stand in the section `prompts`, with `prompt_2` beside `prompt`.",
    "prompt_3": "Prompts stand in the section `prompts`, with `prompt_3` beside `prompt`.",
    "negative_prompt": "Negative prompts stand in the section `prompts`, beside `prompt`.",
    "negative_prompt_2": "Negative prompts stand in the section `prompts`, beside `prompt`.",
    "negative_prompt_3": "Negative prompts stand in the section `prompts`, beside `prompt`.",
    "prompt_embeds": "Prompts are encoded from the section `prompts`.",
    "negative_prompt_embeds": "Prompts are encoded from the section `prompts`.",
    "pooled_prompt_embeds": "Prompts are encoded from the section `prompts`.",
    "negative_pooled_prompt_embeds": "Prompts are encoded from the section `prompts`.",
    "prompt_attention_mask": "Prompts are encoded from the section `prompts`.",
    "negative_prompt_attention_mask": "Prompts are encoded from the section `prompts`.",
    "prompt_embeds_mask": "Prompts are encoded from the section `prompts`.",
    "negative_prompt_embeds_mask": "Prompts are encoded from the section `prompts`.",
    "prompt_embeds_scale": "Prompts are encoded from the section `prompts`.",
    "generator": "Each image gets a generator of its own, made from its seed in the section `seeds`.",
    "latents": "The noise is made from the seeds in the section `seeds`.",
    "num_images_per_prompt": "Write one seed for each image in the section `seeds`.",
    "output_type": "The file format is `output.format`.",
    "return_dict": "Delete it.",
    "callback": "A recipe holds no code: delete it.",
    "callback_steps": "A recipe holds no code: delete it.",
    "callback_on_step_end": "A recipe holds no code: delete it.",
    "callback_on_step_end_tensor_inputs": "A recipe holds no code: delete it.",
    "ip_adapter_image": "Add an adapter of kind ip_adapter with an `image`.",
    "ip_adapter_image_embeds": "Add an adapter of kind ip_adapter with `image_embeds`.",
    "negative_ip_adapter_image": "Add an adapter of kind ip_adapter with an `image`.",
    "negative_ip_adapter_image_embeds": "Add an adapter of kind ip_adapter with `image_embeds`.",
    "image": "Recipes make images from text; an image prompt is an adapter of kind ip_adapter.",
    "images": "Recipes make images from text; an image prompt is an adapter of kind ip_adapter.",
    "cross_attention_kwargs": "The scale of an adapter is its `scale`.",
    "joint_attention_kwargs": "The scale of an adapter is its `scale`.",
    "attention_kwargs": "The scale of an adapter is its `scale`.",
}
"""Arguments of the pipeline call that recipe_runner supplies itself, and where in a recipe they belong."""
_SUPPLIED_TOO = re.compile("prompt.*(embed|mask|cu_seqlens)|callback|latents$|^(negative_)?prompt(_[0-9])?$")


def where_supplied(name: str) -> str | None:
    """What to write instead of an argument that recipe_runner supplies itself; None where it supplies it not."""
    if name in SUPPLIED:
        return SUPPLIED[name]
    return "recipe_runner supplies it: delete it." if _SUPPLIED_TOO.search(name) else None


@cache
def table() -> Mapping[str, Any]:
    """The whole table."""
    text = (files("recipe_runner.pipelines") / "diffusers.json").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


def pipelines() -> Mapping[str, Mapping[str, Any]]:
    """Pipelines that draw from text: `parameters` of the call with defaults, `components`, `mixins`, `lora` modules."""
    found: Mapping[str, Mapping[str, Any]] = table()["pipelines"]
    return found


def other_pipelines() -> Sequence[str]:
    """Pipelines that diffusers has and that do something else than drawing from text."""
    found: Sequence[str] = table()["other_pipelines"]
    return found


def schedulers() -> Mapping[str, Mapping[str, Any]]:
    """Schedulers: `config` parameters with defaults, whether `step` takes a `generator`, `compatibles`."""
    found: Mapping[str, Mapping[str, Any]] = table()["schedulers"]
    return found


def call_parameters(pipeline: str | None) -> Mapping[str, Json]:
    """What a recipe's `sampling` may set: arguments of the call with their defaults (null where there is none).

    Of a pipeline that is not known, those of all pipelines.
    """
    entry = pipelines().get(pipeline or "")
    entries = pipelines().values() if entry is None else [entry]
    return {name: value for one in entries for name, value in one["parameters"].items() if where_supplied(name) is None}


def call_value(name: str, value: Json) -> Any:
    """The value of an argument as the call takes it: sizes are added up as tuples there, and JSON has only lists."""
    pair = isinstance(value, (list, tuple)) and name.endswith(("_size", "_top_left"))
    return tuple(value) if pair else value  # type: ignore[arg-type]


def call_defaults(pipeline: str) -> Mapping[str, Json]:
    """The defaults of what `sampling` may set, for a known pipeline; of an unknown one nothing is known."""
    if pipeline not in pipelines():
        return {}
    return {name: value for name, value in call_parameters(pipeline).items() if value is not None}
