"""Pieces of Python source: literals, calls and paths, laid out as a person would."""

from __future__ import annotations

import os
import pprint
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from recipe_runner.plan.resolved import AnySource

_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Code:
    """An expression that stands in the script as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A tuple of two: lists are written as lists."""

    first: object
    second: object


def as_tuple(value: object) -> object:
    """A tuple as an expression, because lists and tuples of a recipe are both written as lists."""
    return Code(f"({', '.join(map(literal, value))})") if isinstance(value, tuple) else value


def literal(value: object) -> str:
    """A value as source on one line; texts as Python's own repr, so nothing in a text is ever code."""
    if isinstance(value, Code):
        return value.text
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(key)}: {literal(part)}" for key, part in value.items()) + "}"
    if isinstance(value, Pair):
        return f"({literal(value.first)}, {literal(value.second)})"
    if isinstance(value, (list, tuple)):
        # diffusers tells lists of scales from tuples, and a recipe's lists are tuples once they are checked.
        return "[" + ", ".join(map(literal, value)) + "]"
    return repr(value)


def _quoted(text: str) -> str:
    """Python's own repr, between double quotes where that needs no escaping."""
    written = repr(text)
    return f'"{written[1:-1]}"' if written[0] == "'" and '"' not in text else written


def laid_out(name: str, value: object) -> str:
    """An assignment, over several lines where one is too long."""
    line = f"{name} = {literal(value)}"
    if len(line) <= _WIDTH:
        return line
    if isinstance(value, Mapping):
        inner = "".join(f"    {literal(key)}: {literal(part)},\n" for key, part in value.items())
        return f"{name} = {{\n{inner}}}"
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
        inner = "".join(f"    {literal(part)},\n" for part in value)
        return f"{name} = [\n{inner}]"
    return f"{name} = {pprint.pformat(value, width=_WIDTH, compact=True, sort_dicts=False)}"


def call(function: str, *arguments: object, **named: object) -> str:
    """A call in the body of a function, one argument a line where one line is too long."""
    indent = "    "
    parts = [literal(each) for each in arguments] + [f"{key}={literal(each)}" for key, each in named.items()]
    line = f"{function}({', '.join(parts)})"
    if len(indent) + len(line) <= _WIDTH:
        return line
    inner = "".join(f"{indent}    {part},\n" for part in parts)
    return f"{function}(\n{inner}{indent})"


@dataclass(frozen=True, slots=True)
class Place:
    """How the script writes paths: below `FOLDER`, which is the script's own folder or the working directory."""

    folder: Path

    def path(self, path: Path) -> Code:
        """A file or folder of this machine."""
        relative = Path(os.path.relpath(path.absolute(), self.folder.absolute())).as_posix()
        return Code("FOLDER" if relative == "." else f"FOLDER / {_quoted(relative)}")

    def file(self, source: AnySource) -> tuple[object, dict[str, object]]:
        """Where a weights file is: the first argument of a loader, and what narrows it down."""
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
        """Where a repository or folder is: the first argument of from_pretrained, and its revision."""
        if isinstance(source, Source) and source.commit is None:
            return self.path(source.root), {}
        revision = source.commit if isinstance(source, Source) else source.written.revision
        return source.address, {} if revision is None else {"revision": revision}
