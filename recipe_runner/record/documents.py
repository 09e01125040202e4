"""The documents of a run folder that describe its inputs: resolved.yaml and recipe.lock.yaml."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recipe_runner.document.paths import RecipePath, parse_path, prompt_id
from recipe_runner.document.write_yaml import to_yaml
from recipe_runner.lock.file import RUN_HEADER, Lock, installed_libraries, lock_text, locked_source
from recipe_runner.plan.compile import Plan
from recipe_runner.plan.resolved_base import AnySource
from recipe_runner.recipe.rules.adapters import MERGE_OPTIONS
from recipe_runner.recipe.types.recipe import Merge, Recipe
from recipe_runner.record.resolved_choices import write_decisions
from recipe_runner.sources.source import Source

RESOLVED_HEADER = "# Every default and override written out. Running this file gives the same plan.\n"


def resolved_yaml(recipe: Recipe, plan: Plan, folder: Path, run: Path) -> str:
    """The recipe with all values written out; paths relative to its `folder` are rewritten for the `run` folder."""
    tree = _plain(recipe.model_dump(by_alias=True, exclude_none=True))
    first = plan.recipe.variants[0]
    pipelines = {variant.base.pipeline for variant in plan.recipe.variants}
    if len(pipelines) == 1:
        tree["base"]["pipeline"] = first.base.pipeline
    tree["sampling"] = {**first.sampling, **tree["sampling"]}
    # exclude_none removed the components that the recipe sets to null to leave them out.
    components = tree["base"]["components"]
    for name, component in recipe.base.components.items():
        if component is None:
            components.setdefault(name, None)
        else:
            components.setdefault(name, {})
    for position, prompt in enumerate(tree["prompts"]):
        tree["prompts"][position] = {"id": prompt_id(prompt, position), **prompt}
    _without_unread(tree)
    write_decisions(tree, plan.recipe.variants)
    pin(tree, plan.sources())
    tree = readdressed_recipe(tree, partial(_moved, folder=folder, run=run))
    return RESOLVED_HEADER + to_yaml(_without_empty(tree))


def _without_unread(tree: Any) -> None:
    """Remove options that the merging method does not read: a recipe that has them is not valid."""
    for name, adapter in tree["adapters"].items():
        if adapter["kind"] != "merge":
            continue
        varied = f"adapters.{name}.combination_type" in tree["matrix"]
        for option, methods in MERGE_OPTIONS.items():
            unread = adapter["combination_type"] not in methods
            default = Merge.model_fields[option].default
            if unread or (varied and adapter.get(option) == default):
                adapter.pop(option, None)


def pin(tree: Any, sources: Mapping[str, AnySource]) -> None:
    """Write the used commits as revisions: a branch may move before the file is run again."""
    for role, source in sources.items():
        if not isinstance(source, Source) or source.commit is None:
            continue
        holder: Any = tree
        for part in role.split("."):
            if not isinstance(holder, dict):
                break
            holder = holder.get(part)
        # If variants differ in the repository, an axis names it, not this entry.
        if isinstance(holder, dict) and holder.get("model") == source.address:
            holder["revision"] = source.commit


def lock_yaml(plan: Plan) -> str:
    """Every source with its files' sizes and digests, as `recipe-runner lock` writes them.

    Raises:
        WeightsError: a file can no longer be read.
    """
    sources = {}
    for role, source in plan.sources().items():
        if isinstance(source, Source):
            sources[role] = locked_source(source)
    return lock_text(Lock(lock=1, sources=sources, libraries=installed_libraries()), RUN_HEADER)


ADDRESS_KEYS = ("model", "config", "image", "image_embeds", "mask")
_IN_PROMPT = 4
"""The length of the path of a prompt's image address: prompts, index, images, adapter."""


def readdressed(
    value: Any, change: Callable[[Any, str], Any], path: RecipePath = (), keys: Sequence[str] = ADDRESS_KEYS
) -> Any:
    """The part of a recipe at `path`, with each address (a text or list of texts) replaced by `change(address, key)`.

    The value can have any shape.
    """
    if _holds_address(path, keys) and isinstance(value, (str, list)):
        return change(value, str(path[-1]))
    if isinstance(value, dict):
        return {key: readdressed(part, change, (*path, key), keys) for key, part in value.items()}
    if isinstance(value, list):
        return [readdressed(part, change, (*path, place), keys) for place, part in enumerate(value)]
    return value


def readdressed_recipe(tree: Mapping[str, Any], change: Callable[[Any, str], Any]) -> dict[str, Any]:
    """A checked recipe with each address replaced by `change(address, key)`, also in the values of its axes."""
    changed: dict[str, Any] = {}
    for key, part in tree.items():
        if key == "matrix":
            changed[key] = {axis: _readdressed_axis(axis, values, change) for axis, values in (part or {}).items()}
        else:
            changed[key] = readdressed(part, change, (key,))
    return changed


def _readdressed_axis(axis: str, values: Sequence[Any], change: Callable[[Any, str], Any]) -> list[Any]:
    path = tuple(step.name for step in parse_path(axis))
    return [readdressed(value, change, path) for value in values]


def _holds_address(path: RecipePath, keys: Sequence[str]) -> bool:
    if path[:1] == ("prompts",):
        return len(path) == _IN_PROMPT and path[2] == "images"
    return path[:1] in (("base",), ("adapters",)) and path[:2] != ("base", "scheduler") and path[-1] in keys


def _moved(address: Any, key: str, *, folder: Path, run: Path) -> Any:
    """A local path relative to the run folder; a Hub id or URL is unchanged."""
    if isinstance(address, list):
        return [_moved(item, key, folder=folder, run=run) for item in address]
    if not isinstance(address, str) or address.startswith(("/", "~")):
        return address
    path = folder / address
    if not path.exists():
        return address
    return Path(os.path.relpath(path.resolve(), run.resolve())).as_posix()


def _without_empty(value: Any) -> Any:
    """The tree without empty mappings."""
    if isinstance(value, dict):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item != {}}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
