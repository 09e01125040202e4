"""JSON jobs of diffusers-workflow: the first step that draws from text, its variables filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.foreign_json import integer_of, mapping, number_of, plain, sequence, text_of
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignModel, Generation

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_VARIABLE = "variable:"
_PROMPTS = ("prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")
_OPTIONS = ("revision", "variant", "subfolder", "weight_name")
_DTYPES = ("float32", "float16", "bfloat16")
_READ = ("configuration", "scheduler", "loras", "from_pretrained_arguments", "arguments", "seed", "vae")


def read_diffusers_workflow(tree: Mapping[str, Any]) -> Generation | None:
    """What a job says; None where it is no such job, or no step of it draws from a prompt."""
    steps = [mapping(step) for step in sequence(tree.get("steps"))]
    if not any("pipeline" in step for step in steps):
        return None
    variables = mapping(tree.get("variables"))
    for number, step in enumerate(steps):
        pipeline = mapping(_filled(step.get("pipeline"), variables))
        if text_of(mapping(pipeline.get("arguments")).get("prompt")):
            others = [str(each.get("name", place + 1))[:60] for place, each in enumerate(steps) if place != number]
            seed = next((each.get("seed") for each in (pipeline, step, tree) if each.get("seed") is not None), None)
            lost = [f"the step {name}" for name in others]
            return _generation(pipeline, integer_of(_filled(seed, variables)), lost)
    return None


def _filled(value: Any, variables: Mapping[str, Any], depth: int = 0) -> Any:
    """`value` with `variable:name` replaced; a variable is its value, or an object with a `default`."""
    if depth > 20:  # noqa: PLR2004 - deeper than any job, and the end of a variable that names itself
        return None
    if isinstance(value, Mapping):
        return {key: _filled(part, variables, depth + 1) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, variables, depth + 1) for part in value]
    if isinstance(value, str) and value.startswith(_VARIABLE):
        found = variables.get(value.removeprefix(_VARIABLE))
        found = found.get("default", found.get("value")) if isinstance(found, Mapping) else found
        return _filled(found, variables, depth + 1)
    return value


def _generation(pipeline: Mapping[str, Any], seed: int | None, lost: list[str]) -> Generation:
    arguments, loading = mapping(pipeline.get("arguments")), mapping(pipeline.get("from_pretrained_arguments"))
    prompts = {name: str(arguments[name]).strip() for name in _PROMPTS if text_of(arguments.get(name))}
    count = integer_of(arguments.get("num_images_per_prompt")) or 1
    if count > 1:
        lost.append(f"{count} images from one generator: only the first has a seed of its own")
    sampling: dict[str, Json] = {}
    for name, value in arguments.items():
        if name in _PROMPTS or name == "num_images_per_prompt" or value is None:
            continue
        if isinstance(value, Mapping):
            lost.append(f"the argument {name}: {str(value)[:100]}")
        else:
            sampling[name] = plain(value)
    model = text_of(loading.get("model_name")) or text_of(loading.get("from_single_file"))
    component = str(mapping(pipeline.get("configuration")).get("component_type", ""))
    lost += [f"{key}: {str(value)[:100]}" for key, value in pipeline.items() if key not in _READ and value]
    vae = mapping(mapping(pipeline.get("vae")).get("from_pretrained_arguments"))
    return Generation(
        program="diffusers-workflow",
        prompts=prompts,
        seeds=() if seed is None else (seed,),
        sampling=sampling,
        scheduler=_scheduler(mapping(pipeline.get("scheduler"))),
        base=None if model is None else _model(model, loading),
        pipeline=component.rpartition(".")[2] or None,
        dtype=_dtype(loading),
        components={"vae": _model(str(vae["model_name"]), vae)} if text_of(vae.get("model_name")) else {},
        adapters=tuple(_loras(sequence(pipeline.get("loras")))),
        lost=tuple(lost),
    )


def _model(name: str, arguments: Mapping[str, Any]) -> ForeignModel:
    options = {key: str(arguments[key]) for key in _OPTIONS if text_of(arguments.get(key))}
    return ForeignModel(name=name, options=options, hub=True)


def _dtype(loading: Mapping[str, Any]) -> str | None:
    written = str(loading.get("torch_dtype") or loading.get("dtype") or "").removeprefix("torch.")
    return written if written in _DTYPES else None


def _scheduler(tree: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Json]] | None:
    named = text_of(mapping(tree.get("configuration")).get("scheduler_type"))
    config = {str(key): plain(value) for key, value in mapping(tree.get("from_config_args")).items()}
    return None if named is None and not config else (named and named.rpartition(".")[2], config)


def _loras(entries: Any) -> list[ForeignAdapter]:
    found = []
    for entry in map(mapping, entries):
        scale, name = number_of(entry.get("scale")), text_of(entry.get("model_name"))
        if name is not None:
            model = _model(name, entry)
            found.append(ForeignAdapter(kind="lora", model=model, scale=1.0 if scale is None else float(scale)))
    return found
