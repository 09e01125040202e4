"""Compare two recipes by meaning: their values with all defaults written out, not their text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from recipe_runner.canonical import Json
from recipe_runner.diff.difference import Change, ChangePlace, What
from recipe_runner.diff.tree_diff import Keys, Walk, kept, without
from recipe_runner.document.document import Document
from recipe_runner.document.paths import prompt_id
from recipe_runner.pipelines.table import call_defaults
from recipe_runner.recipe.types.recipe import Recipe

Spoken = Mapping[str, Any]
"""A recipe's tree with the language's defaults written out and numbers of one type."""


def spoken(tree: Mapping[str, Json]) -> dict[str, Any]:
    """The values of a checked recipe."""
    recipe = Recipe.model_validate(tree)
    said = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    # A component that is null is left out of the pipeline; a key that is None was not written.
    components = said["base"]["components"]
    for name in recipe.base.components:
        components[name] = components.pop(name, None) or "left out"
    said["prompts"] = list(map(_without_empty, said["prompts"]))
    seeds = said["seeds"]
    if isinstance(seeds, dict):
        seeds = range(seeds["start"], seeds["start"] + seeds["count"])
    said["seeds"] = list(seeds)
    return said


def _without_empty(prompt: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in prompt.items() if value != {}}


def compare_recipes(
    old: Document | None, new: Document | None, pipelines: tuple[str | None, str | None]
) -> tuple[Change, ...]:
    """The changes between two recipes, section by section; None stands for a missing file.

    Args:
        old: the old recipe, checked.
        new: the new recipe, checked.
        pipelines: the pipeline class of each side, if known: its defaults fill in what only the other side writes.
    """
    if old is None or new is None:
        document = cast("Document", old or new)
        name = str(document.tree.get("name"))
        what: What = "added"
        if new is None:
            what = "removed"
        change = Walk("recipe", Places(old, new)).change(("name",), what, name, name)
        return (change,)
    return tuple(_changes(old, new, spoken(old.tree), spoken(new.tree), pipelines))


def _changes(
    old: Document, new: Document, a: Spoken, b: Spoken, pipelines: tuple[str | None, str | None]
) -> Iterator[Change]:
    def walk(section: str) -> Walk:
        return Walk(section, Places(old, new))

    for key in ("name", "description"):
        yield from walk("recipe").leaves((), kept(a, (key,)), kept(b, (key,)))
    yield from walk("base").leaves(("base",), a["base"], b["base"])
    yield from walk("adapters").entries(("adapters",), a["adapters"], b["adapters"])
    before, after = _aligned(a["prompts"], b["prompts"])
    yield from walk("prompts").entries(("prompts",), before, after)
    yield from walk("seeds").values(("seeds",), a["seeds"], b["seeds"])
    samplings = _with_defaults(a["sampling"], b["sampling"], pipelines)
    yield from walk("sampling").leaves(("sampling",), *samplings)
    yield from _matrix(walk("matrix"), a["matrix"], b["matrix"])
    for section in ("runtime", "output"):
        yield from walk(section).leaves((section,), a[section], b[section])


def _matrix(walk: Walk, old: Mapping[str, Sequence[Json]], new: Mapping[str, Sequence[Json]]) -> Iterator[Change]:
    for axis in dict.fromkeys((*new, *old)):
        path = ("matrix", axis)
        if axis not in old:
            yield walk.change(path, "added", new=new[axis])
        elif axis not in new:
            yield walk.change(path, "removed", old=old[axis])
        else:
            yield from walk.values(path, old[axis], new[axis])
    yield from walk.order(("matrix",), list(old), list(new))


def _aligned(old: Sequence[Json], new: Sequence[Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """Prompts by id. Prompts without an id are paired by their texts, then by order: their ids count positions."""
    after: dict[str, Json] = {}
    nameless: dict[str, Json] = {}
    for index, entry in enumerate(new):
        name = prompt_id(entry, index)
        after[name] = _without_id(entry)
        if not _has_id(entry):
            nameless[name] = after[name]
    names = _paired(old, nameless)
    before: dict[str, Json] = {}
    for index, entry in enumerate(old):
        name = names.get(index) or prompt_id(entry, index)
        if name in after and index not in names and not _has_id(entry):
            name = f"{name} (old)"
        before[name] = _without_id(entry)
    return before, after


def _paired(old: Sequence[Json], nameless: Mapping[str, Json]) -> dict[int, str]:
    """For old prompts without an id, by position, the name of the new prompt that each is compared with."""
    waiting: dict[int, Json] = {}
    for index, entry in enumerate(old):
        if not _has_id(entry):
            waiting[index] = _without_id(entry)
    names: dict[int, str] = {}
    reworded: list[str] = []
    for name, entry in nameless.items():
        equal = next((index for index, other in waiting.items() if other == entry), None)
        if equal is None:
            reworded.append(name)
        else:
            names[equal] = name
            del waiting[equal]
    names.update(zip(waiting, reworded, strict=False))
    return names


def _with_defaults(
    old: Mapping[str, Json], new: Mapping[str, Json], pipelines: tuple[str | None, str | None]
) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
    """Both sides, each with its pipeline's defaults for the keys that only the other side writes."""
    keys = dict.fromkeys((*new, *old))
    return _complete(old, keys, pipelines[0]), _complete(new, keys, pipelines[1])


def _complete(said: Mapping[str, Json], keys: Iterable[str], pipeline: str | None) -> Mapping[str, Json]:
    """What one side says or its pipeline takes by default, in the order of `keys`."""
    values: Mapping[str, Json] = said
    if pipeline is not None:
        values = {**call_defaults(pipeline), **said}
    return {key: values[key] for key in keys if key in values}


@dataclass(frozen=True)
class Places:
    """Finds the places of changes in two documents, either of which may be missing."""

    old: Document | None
    new: Document | None

    def __call__(self, path: Keys, *, new: bool) -> ChangePlace | None:
        """The place of the key at `path`, or of its nearest ancestor, on a side that exists."""
        document = self.new or self.old
        if self.old is not None and not new:
            document = self.old
        if document is None:
            return None
        steps: list[str | int] = list(path)
        if path[0] == "prompts" and len(path) > 1:
            prompts = cast("Sequence[Json]", document.tree.get("prompts") or ())
            steps[1] = len(prompts)
            for index, entry in enumerate(prompts):
                if prompt_id(entry, index) == path[1]:
                    steps[1] = index
                    break
        mark = document.place(tuple(steps), key=True)
        return ChangePlace(path=mark.path, line=mark.line, column=mark.column, new=document is self.new)


def _has_id(entry: Json) -> bool:
    return isinstance(entry, Mapping) and "id" in entry


def _without_id(entry: Json) -> Json:
    return without(cast("Mapping[str, Json]", entry), ("id",))
