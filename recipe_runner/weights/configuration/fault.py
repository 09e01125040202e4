"""What is wrong with one key of a configuration file, and where the key stands in the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem

KeyPath = tuple[str, ...]
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]')
_LONGEST_LINE = 200
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """A sentence about the value at `path`, a path of keys; the elements of a list have the list's own path."""

    path: KeyPath
    message: str


def problems_in(file: Path, shown: str, code: str, faults: Sequence[Fault], hint: str) -> list[Problem]:
    """The faults as problems, each at its key in the configuration `file`. `shown` names it for a message."""
    text = file.read_text(encoding="utf-8", errors="replace")
    keys = _keys(text, {fault.path for fault in faults[:_MOST_TOLD]})
    problems = []
    for fault in faults[:_MOST_TOLD]:
        start, end = keys.get(fault.path, (0, 1))
        begin = text.rfind("\n", 0, start) + 1
        line = text[begin:].partition("\n")[0].rstrip("\r")
        problem = Problem(
            code=code,
            message=f"{shown}: {fault.message}",
            place=Place(
                str(file),
                text.count("\n", 0, start) + 1,
                start - begin + 1,
                end - start,
                line if len(line) <= _LONGEST_LINE else "",
            ),
            hint=hint,
            # A configuration on one line is all too long to show,
        )
        problems.append(problem)
    return problems


def _keys(text: str, wanted: set[KeyPath]) -> dict[KeyPath, tuple[int, int]]:
    """Start and end of each wanted key in a JSON text; of a key that is written twice the last, which counts."""
    found = {}
    for path, start, end in _each_key(text):
        if path in wanted:
            found[path] = start, end
    return found


def _each_key(text: str) -> Iterator[tuple[KeyPath, int, int]]:
    """Every key of a JSON text with its path. Mappings within lists have no path of their own."""
    above: list[KeyPath] = []
    current: KeyPath = ()
    word: re.Match[str] | None = None
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign == ":" and word is not None:
            current = (*(above[-1] if above else ()), _plain(word[0]))
            yield current, word.start(), word.end()
        elif sign == "{":
            above.append(current)
        elif sign == "[":
            above.append((*current, "[]"))
            current = above[-1]
        elif sign in "}]" and above:
            current = above.pop()
        word = token if sign.startswith('"') else None


def _plain(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted[1:-1]
