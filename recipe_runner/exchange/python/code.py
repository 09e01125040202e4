"""Write Python code: literals, calls and paths, in a readable layout."""

from __future__ import annotations

import os
import pprint
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from recipe_runner.plan.resolved_base import AnySource

_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Code:
    """An expression of the script."""

    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A tuple of two values, because other tuples are written as lists."""

    first: object
    second: object


def as_tuple(value: object) -> object:
    """The expression of a tuple, because `literal` writes tuples as lists; other values as they are."""
    if not isinstance(value, tuple):
        return value
    return Code(f"({', '.join(map(literal, value))})")


def literal(value: object) -> str:
    """A value as code on one line. A text is written as its repr, so its contents never become code."""
    if isinstance(value, Code):
        return value.text
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(_items(value)) + "}"
    if isinstance(value, Pair):
        return f"({literal(value.first)}, {literal(value.second)})"
    if isinstance(value, (list, tuple)):
        # diffusers treats tuples of scales differently, and the lists of a checked recipe are tuples.
        return "[" + ", ".join(map(literal, value)) + "]"
    return repr(value)


def _quoted(text: str) -> str:
    """The repr of a text, with double quotes when these need no escaping."""
    written = repr(text)
    if written[0] == "'" and '"' not in text:
        return f'"{written[1:-1]}"'
    return written


def _items(value: Mapping[Any, object]) -> list[str]:
    return [f"{literal(key)}: {literal(part)}" for key, part in value.items()]


def _keywords(named: Mapping[str, object]) -> list[str]:
    return [f"{name}={literal(value)}" for name, value in named.items()]


def more_arguments(named: Mapping[str, object]) -> str:
    """Named arguments after others in a call: `, key=value`; empty when there are none."""
    return "".join(f", {argument}" for argument in _keywords(named))


def _lines(parts: Iterable[str], indent: str) -> str:
    return "".join(f"{indent}{part},\n" for part in parts)


def laid_out(name: str, value: object) -> str:
    """An assignment, on several lines when one is too long."""
    line = f"{name} = {literal(value)}"
    if len(line) <= _WIDTH:
        return line
    if isinstance(value, Mapping):
        return f"{name} = {{\n{_lines(_items(value), '    ')}}}"
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
        return f"{name} = [\n{_lines(map(literal, value), '    ')}]"
    return f"{name} = {pprint.pformat(value, width=_WIDTH, compact=True, sort_dicts=False)}"


def call(function: str, *arguments: object, **named: object) -> str:
    """A call in the body of a function, with one argument per line when one line is too long."""
    indent = "    "
    parts = [*map(literal, arguments), *_keywords(named)]
    line = f"{function}({', '.join(parts)})"
    if len(indent) + len(line) <= _WIDTH:
        return line
    return f"{function}(\n{_lines(parts, indent + '    ')}{indent})"


@dataclass(frozen=True, slots=True)
class ScriptPlace:
    """Writes paths relative to `FOLDER`, which is the script's folder or the working directory."""

    folder: Path

    def path(self, path: Path) -> Code:
        """The expression of a file or folder on this machine."""
        relative = Path(os.path.relpath(path.absolute(), self.folder.absolute())).as_posix()
        if relative == ".":
            return Code("FOLDER")
        return Code(f"FOLDER / {_quoted(relative)}")

    def file(self, source: AnySource) -> tuple[object, dict[str, object]]:
        """The arguments of a loader for a weights file: the first one, and the named ones."""
        if isinstance(source, Source) and source.commit is None:
            return self.path(source.path(source.files[0].name)), {}
        if isinstance(source, Source):
            folder, _, name = source.files[0].name.rpartition("/")
            given = {"revision": source.commit, "subfolder": folder or None, "weight_name": name}
        else:
            written = source.written
            given = {"revision": written.revision, "subfolder": written.subfolder, "weight_name": written.weight_name}
        return source.address, {key: value for key, value in given.items() if value is not None}

    def source(self, source: AnySource) -> tuple[object, dict[str, object]]:
        """The arguments of from_pretrained for a repository or folder: the first one, and its revision."""
        if isinstance(source, Source) and source.commit is None:
            return self.path(source.root), {}
        revision = revision_of(source)
        if revision is None:
            return source.address, {}
        return source.address, {"revision": revision}


def revision_of(source: AnySource) -> str | None:
    """The commit of a source, or the revision that the recipe names when the source is not on this machine."""
    if isinstance(source, Source):
        return source.commit
    return source.written.revision
