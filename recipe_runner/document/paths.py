"""Paths into a recipe, as matrix axes and `--set` write them: `adapters.style.scale`, `prompts[0].prompt`.

Segments are separated by `.`, list elements are `[n]` from 0, and a prompt can be named by its id:
`prompts.bears.prompt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from recipe_runner.canonical import mapping
from recipe_runner.problems.wording import counted

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

RecipePath = tuple[str | int, ...]
_SHOWN = 20
_SEGMENT = re.compile(r"(?P<name>[^.\[\]=\s]+)|\[(?P<index>[0-9]{1,6})\]")


@dataclass(frozen=True, slots=True)
class Step:
    """One segment of a path, and its place in the path's text (column from 1)."""

    name: str | int
    column: int
    width: int


class PathSyntaxError(ValueError):
    """The text is not a path. `column` counts from 1."""

    def __init__(self, message: str, column: int) -> None:
        """Hold the message and the column of the error."""
        super().__init__(message)
        self.column = column


class PathNotFoundError(LookupError):
    """The path does not exist. `step` is the one that failed; `known` are the names that exist there."""

    def __init__(self, message: str, step: Step, known: Sequence[str] = ()) -> None:
        """Hold the message, the step and the known names."""
        super().__init__(message)
        self.step = step
        self.known = tuple(known)


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of a path.

    Raises:
        PathSyntaxError: the text is not a path.
    """
    steps: list[Step] = []
    position = 0
    while True:
        match = _SEGMENT.match(text, position)
        if match is None or (match["index"] is not None and not steps):
            raise _not_a_name(text, position)
        steps.append(Step(_name(match), position + 1, match.end() - position))
        position = match.end()
        if position == len(text):
            return tuple(steps)
        if text[position] == ".":
            position += 1
        elif text[position] != "[":
            raise PathSyntaxError(f"expected `.` or `[`, found `{text[position]}`", position + 1)


def _name(segment: re.Match[str]) -> str | int:
    if segment["index"] is None:
        return segment["name"]
    return int(segment["index"])


def _not_a_name(text: str, position: int) -> PathSyntaxError:
    if position == len(text):
        return PathSyntaxError("a name is missing", position + 1)
    rest = text[position : position + _SHOWN]
    return PathSyntaxError(f"`{rest}` is not a name", position + 1)


def format_path(path: Sequence[str | int]) -> str:
    """The text of a path; the inverse of `parse_path` for names without special characters."""
    text = ""
    for segment in path:
        if isinstance(segment, int):
            text += f"[{segment}]"
        elif text:
            text += f".{segment}"
        else:
            text = segment
    return text


def prompt_id(prompt: Json, position: int) -> str:
    """The prompt's own id, or `prompt-N` by its position, from 1."""
    given = mapping(prompt).get("id")
    if isinstance(given, str):
        return given
    return f"prompt-{position + 1}"


def locate(tree: Json, steps: Sequence[Step]) -> RecipePath:
    """The path of `steps` in `tree`, with indexes for prompt ids. A mapping need not have the names.

    Raises:
        PathNotFoundError: an index after the end of a list, or a step into a value without parts.
    """
    path: list[str | int] = []
    here: Json = tree
    for step in steps:
        segment, here = _next(here, step, path)
        path.append(segment)
    return tuple(path)


def _next(here: Json, step: Step, path: Sequence[str | int]) -> tuple[str | int, Json]:
    """The segment that a step means in the value `here` at `path`, and the value of the segment."""
    name = step.name
    if isinstance(here, Mapping):
        if isinstance(name, int):
            message = f"`{format_path(path)}` is a mapping: its parts have names, not numbers"
            raise PathNotFoundError(message, step, tuple(here))
        return name, here.get(name)
    if isinstance(here, Sequence) and not isinstance(here, str):
        index = _index(here, step, path)
        return index, here[index]
    if here is None and isinstance(name, str):
        return name, None
    state = "missing" if here is None else "a single value"
    raise PathNotFoundError(f"`{format_path(path)}` has no parts: it is {state}", step)


def _index(elements: Sequence[Json], step: Step, path: Sequence[str | int]) -> int:
    """The index that a step into the list at `path` means; a prompt's id is one."""
    place, name = format_path(path), step.name
    if isinstance(name, str) and list(path) == ["prompts"]:
        ids = [prompt_id(prompt, position) for position, prompt in enumerate(elements)]
        if name not in ids:
            raise PathNotFoundError(f"no prompt has the id `{name}`", step, ids)
        return ids.index(name)
    if isinstance(name, str):
        raise PathNotFoundError(f"`{place}` is a list: its elements are {place}[0], {place}[1], …", step)
    if name >= len(elements):
        count = counted(len(elements), "element")
        raise PathNotFoundError(f"`{place}` has {count}, counted from 0", step)
    return name


def replaced(tree: Json, path: Sequence[str | int], value: Json) -> Json:
    """A copy of `tree` with `value` at `path`. It shares with `tree` all that is not on the path.

    Missing mappings on the path are added.
    """
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(first, int):
        elements = cast("Sequence[Json]", tree)  # a located path has the list
        return [*elements[:first], replaced(elements[first], rest, value), *elements[first + 1 :]]
    parts = mapping(tree)
    return {**parts, first: replaced(parts.get(first), rest, value)}
