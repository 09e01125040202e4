"""JSON jobs of diffusers-workflow: the first step that draws from text, with its variables filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.foreign_json import (
    first_of,
    first_text,
    integer_of,
    mapping,
    mappings,
    plain,
    text_of,
    unread,
)
from recipe_runner.exchange.importers.generation import (
    ForeignAdapter,
    ForeignGeneration,
    ForeignModel,
    single_seed,
    with_vae,
)

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_VARIABLE = "variable:"
_PROMPTS = ("prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")
_OPTIONS = ("revision", "variant", "subfolder", "weight_name")
_COUNT = "num_images_per_prompt"
_DEEPEST = 20
"""Levels of values and variables; it also ends a variable that names itself."""
_DTYPES = ("float32", "float16", "bfloat16")
_READ = ("configuration", "scheduler", "loras", "from_pretrained_arguments", "arguments", "seed", "vae")


def read_diffusers_workflow(tree: Mapping[str, Any]) -> ForeignGeneration | None:
    """What a job says; None for any other object, and when no step of the job draws from a prompt."""
    steps = mappings(tree.get("steps"))
    variables = mapping(tree.get("variables"))
    for number, step in enumerate(steps):
        pipeline = mapping(_filled(step.get("pipeline"), variables))
        if text_of(mapping(pipeline.get("arguments")).get("prompt")):
            seed = _filled(_seed(pipeline, step, tree), variables)
            return _generation(pipeline, seed, _other_steps(steps, number))
    return None


def _seed(*holders: Mapping[str, Any]) -> Any:
    """The seed of a pipeline, else of its step, else of the job."""
    for holder in holders:
        if holder.get("seed") is not None:
            return holder["seed"]
    return None


def _other_steps(steps: list[Mapping[str, Any]], number: int) -> list[str]:
    sentences = [f"the step {str(step.get('name', place))[:60]}" for place, step in enumerate(steps, start=1)]
    del sentences[number]
    return sentences


def _filled(value: Any, variables: Mapping[str, Any], depth: int = 0) -> Any:
    """`value` with `variable:name` replaced; a variable is its value, or an object with a `default`."""
    if depth > _DEEPEST:
        return None
    if isinstance(value, Mapping):
        return {key: _filled(part, variables, depth + 1) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, variables, depth + 1) for part in value]
    if isinstance(value, str) and value.startswith(_VARIABLE):
        found = variables.get(value.removeprefix(_VARIABLE))
        if isinstance(found, Mapping):
            found = first_of(found, "default", "value")
        return _filled(found, variables, depth + 1)
    return value


def _generation(pipeline: Mapping[str, Any], seed: Any, lost: list[str]) -> ForeignGeneration:
    arguments, loading = mapping(pipeline.get("arguments")), mapping(pipeline.get("from_pretrained_arguments"))
    sampling, more = _sampling(arguments)
    component = str(mapping(pipeline.get("configuration")).get("component_type", ""))
    vae = mapping(mapping(pipeline.get("vae")).get("from_pretrained_arguments"))
    return ForeignGeneration(
        program="diffusers-workflow",
        prompts={name: str(arguments[name]).strip() for name in _PROMPTS if text_of(arguments.get(name))},
        seeds=single_seed(seed),
        sampling=sampling,
        scheduler=_scheduler(mapping(pipeline.get("scheduler"))),
        base=_model(loading, "model_name", "from_single_file"),
        pipeline=component.rpartition(".")[2] or None,
        dtype=_dtype(loading),
        components=with_vae(_model(vae, "model_name")),
        adapters=tuple(_loras(pipeline.get("loras"))),
        lost=(*lost, *more, *unread(pipeline, _READ)),
    )


def _sampling(arguments: Mapping[str, Any]) -> tuple[dict[str, Json], list[str]]:
    """The arguments of the call that a recipe can hold, and a sentence for each that it cannot."""
    sampling: dict[str, Json] = {}
    lost: list[str] = []
    count = integer_of(arguments.get(_COUNT)) or 1
    if count > 1:
        lost.append(f"{count} images from one generator: only the first has a seed of its own")
    for name, value in arguments.items():
        if name in _PROMPTS or name == _COUNT or value is None:
            continue
        if isinstance(value, Mapping):
            lost.append(f"the argument {name}: {str(value)[:100]}")
        else:
            sampling[name] = plain(value)
    return sampling, lost


def _model(arguments: Mapping[str, Any], *names: str) -> ForeignModel | None:
    """The model under the first of `names` that the arguments have."""
    name = first_text(arguments, *names)
    if name is None:
        return None
    options = {key: str(arguments[key]) for key in _OPTIONS if text_of(arguments.get(key))}
    return ForeignModel(name=name, options=options, hub=True)


def _dtype(loading: Mapping[str, Any]) -> str | None:
    written = (first_text(loading, "torch_dtype", "dtype") or "").removeprefix("torch.")
    return written if written in _DTYPES else None


def _scheduler(tree: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Json]] | None:
    named = str(mapping(tree.get("configuration")).get("scheduler_type") or "").rpartition(".")[2]
    config = {str(key): plain(value) for key, value in mapping(tree.get("from_config_args")).items()}
    if not named and not config:
        return None
    return named or None, config


def _loras(entries: Any) -> list[ForeignAdapter]:
    found = []
    for entry in mappings(entries):
        model = _model(entry, "model_name")
        if model is not None:
            found.append(ForeignAdapter.lora(model, entry.get("scale")))
    return found
