"""Decode bytes to text: UTF-8, optionally with a byte-order mark, and without invisible characters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeSyntaxError

LARGEST_FILE = 1024 * 1024
"""Bytes; enough for ten thousand long prompts."""
_FOREIGN_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_OTHER_FILES = {
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"RIFF": "an image",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
}
_MOST_PROBLEMS = 20
_LARGEST_BYTE = 0xFF
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
# The unprintable characters of YAML 1.2, and three that are line breaks in YAML 1.1 (and libyaml), but not in editors,
# so line numbers would differ.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_NAMES = {"\x00": "a null character", "\x85": "a next-line character", "\u2028": "a line separator",
          "\u2029": "a paragraph separator", "\ufeff": "a byte-order mark", "\x1b": "an escape character"}  # fmt: skip


@dataclass(frozen=True)
class SourceText:
    """A text with places: a file, or an option of the command line."""

    source: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines without their line breaks; at least one."""
        return _LINE_BREAK.split(self.text)

    def line(self, number: int) -> str:
        """Line `number`, from 1; empty after the last."""
        if number > len(self.lines):
            return ""
        return self.lines[number - 1]

    def at(self, line: int, column: int, width: int = 1) -> Place:
        """A place in this text; the end of the last line for a place after it."""
        if line > len(self.lines):
            return Place(self.source, len(self.lines), len(self.lines[-1]) + 1, 1, self.lines[-1])
        return Place(self.source, line, column, max(1, width), self.lines[line - 1])


def read_text(data: bytes | str, source: str) -> SourceText:
    """Decode `data` and refuse characters that a recipe cannot contain.

    Raises:
        RecipeSyntaxError: E101 (encoding), E102 (characters), E103 (size).
    """
    size = len(data)
    if size > LARGEST_FILE:
        raise RecipeSyntaxError(
            Problem.at(
                SourceText(source, "").at(1, 1),
                "E103",
                f"the file has {size:,} bytes; the limit is {LARGEST_FILE:,}",
                "Split the prompts or seeds into several recipes.",
            )
        )
    text = data.removeprefix("\ufeff") if isinstance(data, str) else _decoded(data, source)
    origin = SourceText(source, text)
    if _UNSEEN.search(text):
        _refuse_unseen(origin)
    return origin


def _decoded(data: bytes, source: str) -> str:
    hint = "Save the file as UTF-8."
    start = SourceText(source, "").at(1, 1)
    for first_bytes, kind in _OTHER_FILES.items():
        if data.startswith(first_bytes):
            advice = "`recipe-runner import` makes recipes of images." if kind == "an image" else ""
            raise RecipeSyntaxError(Problem.at(start, "E101", f"the file is {kind}, not a recipe", advice))
    for mark, encoding in _FOREIGN_MARKS.items():
        if data.startswith(mark):
            raise RecipeSyntaxError(Problem.at(start, "E101", f"the file is {encoding} text, not UTF-8", hint))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `error.object` has no byte-order mark, and positions count in it.
        body = error.object
        before = _LINE_BREAK.split(body[: error.start].decode())
        origin = SourceText(source, body.decode(errors="replace"))
        message = f"byte 0x{body[error.start]:02X} is not UTF-8 text"
        raise RecipeSyntaxError(
            Problem.at(origin.at(len(before), len(before[-1]) + 1), "E101", message, hint)
        ) from error


def _refuse_unseen(origin: SourceText) -> None:
    problems: list[Problem] = []
    for number, line in enumerate(origin.lines, start=1):
        matches = _UNSEEN.finditer(line)
        problems += [_unseen(match.group(), origin.at(number, match.start() + 1)) for match in matches]
        if len(problems) >= _MOST_PROBLEMS:
            break
    raise RecipeSyntaxError(*problems[:_MOST_PROBLEMS])


def _unseen(character: str, place: Place) -> Problem:
    number = ord(character)
    name = _NAMES.get(character, "a control character")
    escape = f"\\u{number:04X}"
    if number <= _LARGEST_BYTE:
        escape = f"\\x{number:02X}"
    message = f"recipes cannot contain {name} (U+{number:04X})"
    return Problem.at(place, "E102", message, f'Delete it; if a text needs it, write "{escape}" between double quotes.')
