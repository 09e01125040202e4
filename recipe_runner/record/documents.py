"""The documents of a run folder that stand for its inputs: resolved.yaml and recipe.lock.yaml."""

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
    """The recipe with nothing left out; paths relative to the recipe's `folder` are rewritten for the `run` folder."""
    tree = _plain(recipe.model_dump(by_alias=True, exclude_none=True))
    first = plan.recipe.variants[0]
    if len({variant.base.pipeline for variant in plan.recipe.variants}) == 1:
        tree["base"]["pipeline"] = first.base.pipeline
    tree["sampling"] = {**first.sampling, **tree["sampling"]}
    # What the recipe sets to null is a component left out, which exclude_none took away.
    for name, component in recipe.base.components.items():
        tree["base"]["components"].setdefault(name, None if component is None else {})
    for position, prompt in enumerate(tree["prompts"]):
        tree["prompts"][position] = {"id": prompt_id(prompt, position), **prompt}
    _without_unread(tree)
    write_decisions(tree, plan.recipe.variants)
    pin(tree, plan.sources())
    tree = readdressed_recipe(tree, partial(_moved, folder=folder, run=run))
    return RESOLVED_HEADER + to_yaml(_without_empty(tree))


def _without_unread(tree: Any) -> None:
    """Take the defaults of options away that the merging method does not read: written out they would be refused."""
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
    """Write the commits that were used as revisions: a branch may move before the file is run again."""
    for role, source in sources.items():
        if not isinstance(source, Source) or source.commit is None:
            continue
        holder: Any = tree
        for part in role.split("."):
            holder = holder.get(part) if isinstance(holder, dict) else None
        # Where variants differ in it, an axis says which repository it is.
        if isinstance(holder, dict) and holder.get("model") == source.address:
            holder["revision"] = source.commit


def lock_yaml(plan: Plan) -> str:
    """Every source with its files' sizes and digests, as `recipe-runner lock` writes them.

    Raises:
        WeightsError: a file can no longer be read.
    """
    sources = {role: locked_source(source) for role, source in plan.sources().items() if isinstance(source, Source)}
    return lock_text(Lock(lock=1, sources=sources, libraries=installed_libraries()), RUN_HEADER)


ADDRESS_KEYS = ("model", "config", "image", "image_embeds", "mask")
_IN_PROMPT = 4
"""How deep the address of a prompt's image lies: prompts, which, images, adapter."""


def readdressed(
    value: Any, change: Callable[[Any, str], Any], path: RecipePath = (), keys: Sequence[str] = ADDRESS_KEYS
) -> Any:
    """A part of a recipe, `path` where in it, with each address (a text or list of texts) as `change` makes it.

    `change` is told the key, too. Nothing is taken for granted about the value's shape.
    """
    if _holds_address(path, keys) and isinstance(value, (str, list)):
        return change(value, str(path[-1]))
    if isinstance(value, dict):
        return {key: readdressed(part, change, (*path, key), keys) for key, part in value.items()}
    if isinstance(value, list):
        return [readdressed(part, change, (*path, place), keys) for place, part in enumerate(value)]
    return value


def readdressed_recipe(tree: Mapping[str, Any], change: Callable[[Any, str], Any]) -> dict[str, Any]:
    """A checked recipe with each address as `change` makes it, those in the values of its axes among them."""
    axes = {
        axis: [readdressed(value, change, tuple(step.name for step in parse_path(axis))) for value in values]
        for axis, values in (tree.get("matrix") or {}).items()
    }
    return {key: axes if key == "matrix" else readdressed(part, change, (key,)) for key, part in tree.items()}


def _holds_address(path: RecipePath, keys: Sequence[str]) -> bool:
    if path[:1] == ("prompts",):
        return len(path) == _IN_PROMPT and path[2] == "images"
    return path[:1] in (("base",), ("adapters",)) and path[:2] != ("base", "scheduler") and path[-1] in keys


def _moved(address: Any, key: str, *, folder: Path, run: Path) -> Any:
    """A path as seen from the run folder; a Hub id or URL as it is."""
    if isinstance(address, list):
        return [_moved(item, key, folder=folder, run=run) for item in address]
    if not isinstance(address, str) or address.startswith(("/", "~")):
        return address
    path = folder / address
    if not path.exists():
        return address
    return Path(os.path.relpath(path.resolve(), run.resolve())).as_posix()


def _without_empty(value: Any) -> Any:
    """The tree without mappings that say nothing."""
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
