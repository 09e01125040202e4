"""Paths into a recipe, as matrix axes and `--set` write them: `adapters.style.scale`, `prompts[0].prompt`.

Segments are separated by `.`, list elements are `[n]` from 0, and a prompt can be named by its id:
`prompts.bears.prompt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

RecipePath = tuple[str | int, ...]
_SEGMENT = re.compile(r"(?P<name>[^.\[\]=\s]+)|\[(?P<index>[0-9]{1,6})\]")


@dataclass(frozen=True, slots=True)
class Step:
    """One segment of a path, and where in the path's text it stands (column from 1)."""

    name: str | int
    column: int
    width: int


class PathSyntaxError(ValueError):
    """The text is no path. `column` counts from 1."""

    def __init__(self, message: str, column: int) -> None:
        """Say what is wrong, and where."""
        super().__init__(message)
        self.column = column


class PathNotFoundError(LookupError):
    """A path that leads nowhere. `step` is the one that failed; `known` are the names that would have done."""

    def __init__(self, message: str, step: Step, known: Sequence[str] = ()) -> None:
        """Say why, at which step, and what there is instead."""
        super().__init__(message)
        self.step = step
        self.known = tuple(known)


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of a path.

    Raises:
        PathSyntaxError: when it is none.
    """
    steps: list[Step] = []
    position = 0
    while True:
        match = _SEGMENT.match(text, position)
        if match is None or (match["index"] is not None and not steps):
            what = "a name is missing" if position == len(text) else f"`{text[position:][:20]}` is no name"
            raise PathSyntaxError(what, position + 1)
        name: str | int = match["name"] if match["index"] is None else int(match["index"])
        steps.append(Step(name, position + 1, match.end() - position))
        position = match.end()
        if position == len(text):
            return tuple(steps)
        if text[position] == ".":
            position += 1
        elif text[position] != "[":
            message = f"`{text[position]}` where `.` or `[` was expected"
            raise PathSyntaxError(message, position + 1)


def format_path(path: Sequence[str | int]) -> str:
    """The text of a path; the inverse of `parse_path` for names without special characters."""
    text = ""
    for segment in path:
        text += f"[{segment}]" if isinstance(segment, int) else f".{segment}" if text else segment
    return text


def prompt_id(prompt: Json, position: int) -> str:
    """The id of a prompt: the one it has, or `prompt-N` by its position, from 1."""
    given = prompt.get("id") if isinstance(prompt, Mapping) else None
    return given if isinstance(given, str) else f"prompt-{position + 1}"


def locate(tree: Json, steps: Sequence[Step]) -> RecipePath:
    """The concrete path of `steps` in `tree`: prompt ids become indexes. Names that a mapping lacks are kept.

    Raises:
        PathNotFoundError: at an index beyond a list, or a step into something that has no parts.
    """
    path: list[str | int] = []
    here: Json = tree
    for step in steps:
        segment, here = _next(here, step, path)
        path.append(segment)
    return tuple(path)


def _next(here: Json, step: Step, path: Sequence[str | int]) -> tuple[str | int, Json]:
    name = step.name
    place = f"`{format_path(path)}`"
    if isinstance(here, Mapping):
        if isinstance(name, int):
            message = f"{place} is a mapping: its parts have names, not numbers"
            raise PathNotFoundError(message, step, tuple(here))
        return name, here.get(name)
    if isinstance(here, Sequence) and not isinstance(here, str):
        if isinstance(name, str) and list(path) == ["prompts"]:
            ids = [prompt_id(prompt, position) for position, prompt in enumerate(here)]
            if name not in ids:
                message = f"no prompt has the id `{name}`"
                raise PathNotFoundError(message, step, ids)
            name = ids.index(name)
        if isinstance(name, str):
            message = f"{place} is a list: its elements are {place[1:-1]}[0], {place[1:-1]}[1], …"
            raise PathNotFoundError(message, step)
        if name >= len(here):
            message = f"{place} has {len(here)} element{'' if len(here) == 1 else 's'}, counted from 0"
            raise PathNotFoundError(message, step)
        return name, here[name]
    if here is None and isinstance(name, str):
        return name, None
    message = f"{place} has no parts: it is {'not there' if here is None else 'a single value'}"
    raise PathNotFoundError(message, step)


def replaced(tree: Json, path: Sequence[str | int], value: Json) -> Json:
    """`tree` with `value` at `path`; everything beside the path is shared with `tree`, which stays as it is.

    Mappings that the path needs and `tree` lacks are made.
    """
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(first, int):
        elements = cast("Sequence[Json]", tree)  # a located path has the list
        return [*elements[:first], replaced(elements[first], rest, value), *elements[first + 1 :]]
    mapping = tree if isinstance(tree, Mapping) else {}
    return {**mapping, first: replaced(mapping.get(first), rest, value)}
