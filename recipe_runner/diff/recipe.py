"""Two recipes by meaning: what they say once defaults are written out, whatever their text looks like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from recipe_runner.canonical import Json
from recipe_runner.diff.difference import Change, Place, What
from recipe_runner.diff.tree_diff import Keys, Walk
from recipe_runner.document.document import Document
from recipe_runner.document.paths import prompt_id
from recipe_runner.pipelines.table import call_defaults
from recipe_runner.recipe.types.recipe import Recipe

Spoken = Mapping[str, Any]
"""A recipe's tree with the language's defaults written out and numbers of one type."""


def spoken(tree: Mapping[str, Json]) -> dict[str, Any]:
    """What a checked recipe says."""
    recipe = Recipe.model_validate(tree)
    said = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    # A component that is null is left out of the pipeline; a key that is None was not written.
    said["base"]["components"] = {
        name: said["base"]["components"].get(name) or "left out" for name in recipe.base.components
    }
    said["prompts"] = [{key: value for key, value in prompt.items() if value != {}} for prompt in said["prompts"]]
    seeds = said["seeds"]
    said["seeds"] = (
        list(range(seeds["start"], seeds["start"] + seeds["count"])) if isinstance(seeds, dict) else list(seeds)
    )
    return said


def compare_recipes(
    old: Document | None, new: Document | None, pipelines: tuple[str | None, str | None]
) -> tuple[Change, ...]:
    """What differs, section by section; a side that is None is a file that is not there.

    Args:
        old: the old recipe, checked.
        new: the new recipe, checked.
        pipelines: the pipeline class of each side, where it is known: its defaults stand for what only one side writes.
    """
    if old is None or new is None:
        document = cast("Document", old or new)
        name = str(document.tree.get("name"))
        what: What = "removed" if new is None else "added"
        change = Walk("recipe", Places(old, new)).change(("name",), what, name, name)
        return (change,)
    return tuple(_changes(old, new, spoken(old.tree), spoken(new.tree), pipelines))


def _changes(
    old: Document, new: Document, a: Spoken, b: Spoken, pipelines: tuple[str | None, str | None]
) -> Iterator[Change]:
    def walk(section: str) -> Walk:
        return Walk(section, Places(old, new))

    for key in ("name", "description"):
        yield from walk("recipe").leaves((), _only(a, key), _only(b, key))
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
    """Prompts by id; those without one, whose ids count positions, find each other by their texts, then by order."""
    after = {prompt_id(entry, index): _without_id(entry) for index, entry in enumerate(new)}
    nameless = [name for (name, _), entry in zip(after.items(), new, strict=True) if not _has_id(entry)]
    waiting = {index: _without_id(entry) for index, entry in enumerate(old) if not _has_id(entry)}
    names: dict[int, str] = {}
    for equal in (True, False):
        for name in list(nameless):
            found = next((i for i, said in waiting.items() if not equal or said == after[name]), None)
            if found is not None:
                names[found] = name
                nameless.remove(name)
                del waiting[found]
    before: dict[str, Json] = {}
    for index, entry in enumerate(old):
        name = names.get(index) or prompt_id(entry, index)
        gone = not _has_id(entry) and index not in names and name in after
        before[f"{name} (old)" if gone else name] = _without_id(entry)
    return before, after


def _with_defaults(
    old: Mapping[str, Json], new: Mapping[str, Json], pipelines: tuple[str | None, str | None]
) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
    """What one side alone writes is what the other's pipeline takes by default."""
    sides = []
    for said, other, pipeline in ((old, new, pipelines[0]), (new, old, pipelines[1])):
        defaults = call_defaults(pipeline) if pipeline else {}
        sides.append({**said, **{key: defaults[key] for key in other if key not in said and key in defaults}})
    keys = list(dict.fromkeys((*new, *old)))
    first, second = ({key: side[key] for key in keys if key in side} for side in sides)
    return first, second


@dataclass(frozen=True)
class Places:
    """Where changes stand in two documents, either of which may be missing."""

    old: Document | None
    new: Document | None

    def __call__(self, path: Keys, *, new: bool) -> Place | None:
        """The place of the key at `path`, or of its nearest ancestor; on the side that is there."""
        document = self.new if (new and self.new) or self.old is None else self.old
        if document is None:
            return None
        steps: list[str | int] = list(path)
        if path[0] == "prompts" and len(path) > 1:
            prompts = cast("Sequence[Json]", document.tree.get("prompts") or ())
            ids = [prompt_id(entry, index) for index, entry in enumerate(prompts)]
            steps[1] = ids.index(path[1]) if path[1] in ids else len(ids)
        mark = document.place(tuple(steps), key=True)
        return Place(path=mark.path, line=mark.line, column=mark.column, new=document is self.new)


def _only(said: Spoken, key: str) -> dict[str, Json]:
    return {key: said[key]} if key in said else {}


def _has_id(entry: Json) -> bool:
    return isinstance(entry, Mapping) and "id" in entry


def _without_id(entry: Json) -> Json:
    return {key: value for key, value in cast("Mapping[str, Json]", entry).items() if key != "id"}
