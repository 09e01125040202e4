"""Bytes to text: UTF-8, a byte-order mark allowed, and no character that a reader cannot see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeSyntaxError

LARGEST_FILE = 1024 * 1024
"""Bytes. A recipe of ten thousand long prompts fits."""
_FOREIGN_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_OTHER_FILES = {
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"RIFF": "a picture",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
}
_MOST_PROBLEMS = 20
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
# What YAML 1.2 calls unprintable, and the three characters that YAML 1.1 (so libyaml) takes for line breaks while
# editors, and so line numbers, do not.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_NAMES = {"\x00": "a null character", "\x85": "a next-line character", "\u2028": "a line separator",
          "\u2029": "a paragraph separator", "\ufeff": "a byte-order mark", "\x1b": "an escape character"}  # fmt: skip


@dataclass(frozen=True)
class SourceText:
    """A text that places point into: a file, or an option of the command line."""

    source: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines without their line breaks; at least one."""
        return _LINE_BREAK.split(self.text)

    def line(self, number: int) -> str:
        """The line called `number`, from 1; empty beyond the last."""
        return self.lines[number - 1] if number <= len(self.lines) else ""

    def at(self, line: int, column: int, width: int = 1) -> Place:
        """A place of this text, moved onto its last line where it lies beyond."""
        if line > len(self.lines):
            return Place(self.source, len(self.lines), len(self.lines[-1]) + 1, 1, self.lines[-1])
        return Place(self.source, line, column, max(1, width), self.lines[line - 1])


def read_text(data: bytes | str, source: str) -> SourceText:
    """Decode `data` and refuse what may not stand in it.

    Raises:
        RecipeSyntaxError: E101 (encoding), E102 (characters), E103 (size).
    """
    size = len(data)
    if size > LARGEST_FILE:
        raise RecipeSyntaxError(
            Problem.at(
                SourceText(source, "").at(1, 1),
                "E103",
                f"the file has {size:,} bytes; at most {LARGEST_FILE:,} are read",
                "Split the recipe; prompts and seeds can be several recipes.",
            )
        )
    text = data.removeprefix("\ufeff") if isinstance(data, str) else _decoded(data, source)
    origin = SourceText(source, text)
    if _UNSEEN.search(text):
        _refuse_unseen(origin)
    return origin


def _decoded(data: bytes, source: str) -> str:
    hint = "Save the file as UTF-8."
    if found := next((what for start, what in _OTHER_FILES.items() if data.startswith(start)), None):
        advice = "`recipe-runner import` makes recipes of pictures." if found == "a picture" else ""
        problem = Problem.at(SourceText(source, "").at(1, 1), "E101", f"the file is {found}, not a recipe", advice)
        raise RecipeSyntaxError(problem)
    for mark, encoding in _FOREIGN_MARKS.items():
        if data.startswith(mark):
            message = f"the file is {encoding} text, not UTF-8"
            raise RecipeSyntaxError(Problem.at(SourceText(source, "").at(1, 1), "E101", message, hint))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `error.object` is what follows a byte-order mark, and positions count in it.
        body = error.object
        before = _LINE_BREAK.split(body[: error.start].decode())
        origin = SourceText(source, body.decode(errors="replace"))
        message = f"byte 0x{body[error.start]:02X} is not UTF-8 text"
        raise RecipeSyntaxError(
            Problem.at(origin.at(len(before), len(before[-1]) + 1), "E101", message, hint)
        ) from error


def _refuse_unseen(origin: SourceText) -> None:
    problems = []
    for number, line in enumerate(origin.lines, start=1):
        for match in _UNSEEN.finditer(line):
            character = match.group()
            name = _NAMES.get(character, "a control character")
            escape = f"\\x{ord(character):02X}" if ord(character) < 0x100 else f"\\u{ord(character):04X}"  # noqa: PLR2004
            problems.append(
                Problem.at(
                    origin.at(number, match.start() + 1),
                    "E102",
                    f"{name} (U+{ord(character):04X}) may not stand in a recipe",
                    f'Delete it; if a text needs it, write "{escape}" between double quotes.',
                )
            )
        if len(problems) >= _MOST_PROBLEMS:
            break
    raise RecipeSyntaxError(*problems[:_MOST_PROBLEMS])
