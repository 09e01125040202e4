"""Problems for people, programs and GitHub.

JSON is one object: `{"problems": [{"code", "severity", "message", "path", "line", "column", "width", "hint",
"title"}], "errors": N, "warnings": N}`; line and column count from 1 and are null for a problem without a place.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, TextIO

from recipe_runner.problems.codes import CODES
from recipe_runner.report.escape import Coloured, Escaped, annotation, one_line, visible
from recipe_runner.report.terminal.colour import paint, wants_colour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recipe_runner.canonical import Json
    from recipe_runner.problems.problem import Problem

_LONGEST_LINE = 160


def print_problems(problems: Sequence[Problem], output_format: str = "human", file: TextIO | None = None) -> None:
    """Write problems as `json` or `github`, or in any other format as text for people.

    Without `file`, output for programs goes to stdout, and output for people to stderr.
    """
    if output_format == "json":
        stream = file or sys.stdout
        stream.write(json.dumps(problems_json(problems), indent=2) + "\n")
    elif output_format == "github":
        stream = file or sys.stdout
        stream.write(Escaped("".join(f"{problem_github(problem)}\n" for problem in problems)))
    elif problems:
        stream = file or sys.stderr
        colour = wants_colour(stream)
        stream.write(Coloured("\n".join(problem_text(problem, colour=colour) for problem in problems)))


def problem_text(problem: Problem, *, colour: bool = False) -> str:
    """A problem as compilers show it: place, code, message, the line with a caret, and what to do."""
    painted = partial(paint, colour=colour)
    place = one_line(problem.path)
    if problem.line:
        place += f":{problem.line}:{problem.column}"
    text = ""
    if place:
        text += painted("place", f"{place}: ")
    text += f"{painted(problem.severity, f'{problem.severity}[{problem.code}]')}: {visible(problem.message)}\n"
    gutter = " " * len(str(problem.line))
    if problem.line and problem.place.source_line:
        line, caret = _excerpt(problem)
        text += f"{painted('frame', f'{problem.line} | ')}{line}\n"
        text += f"{painted('frame', f'{gutter} | ')}{painted(problem.severity, caret)}\n"
    if problem.hint:
        text += f"{gutter} {painted('frame', '= ')}{painted('help', 'help: ')}{visible(problem.hint)}\n"
    return text


def _excerpt(problem: Problem) -> tuple[str, str]:
    """The line and the caret under it; only the part around the caret if the line is long."""
    line, start = problem.place.source_line, problem.column - 1
    width = problem.place.width
    if len(line) > _LONGEST_LINE:
        first = max(0, start - _LONGEST_LINE // 3)
        line = line[first : first + _LONGEST_LINE]
        start -= first
        if first:
            line, start = f"…{line}", start + 1
        if first + _LONGEST_LINE < len(problem.place.source_line):
            line += "…"
    width = max(1, min(width, len(line) - start))
    # Keep tabs, so that the caret stands below its character on any terminal.
    padding = "\t".join(" " * _width(part) for part in line[:start].split("\t"))
    return visible(line).rstrip(), padding + "^" * max(1, _width(line[start : start + width]))


def _width(text: str) -> int:
    """How many columns a text takes on a terminal."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    """How many columns a character takes on a terminal."""
    if not character.isprintable():
        return len(visible(character))
    if character.isascii():
        return 1
    from unicodedata import combining, east_asian_width  # noqa: PLC0415 - only for lines that are not ASCII

    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def problems_json(problems: Sequence[Problem]) -> Mapping[str, Json]:
    """Problems as plain data, and how many errors and warnings there are."""
    severities = [problem.severity for problem in problems]
    return {
        "problems": list(map(problem_json, problems)),
        "errors": severities.count("error"),
        "warnings": severities.count("warning"),
    }


def problem_json(problem: Problem) -> Mapping[str, Json]:
    """One problem as plain data."""
    return {
        "code": problem.code,
        "title": CODES[problem.code].title if problem.code in CODES else "",
        "severity": problem.severity,
        "message": problem.message,
        "path": problem.path or None,
        "line": problem.line or None,
        "column": problem.column or None,
        "width": problem.place.width,
        "hint": problem.hint or None,
    }


def problem_github(problem: Problem) -> str:
    """A workflow command that annotates the line in a pull request."""
    message = f"{problem.message} {problem.hint}".strip()
    place = (problem.path, problem.line, problem.column)
    return annotation(problem.severity, problem.code, message, place, width=problem.place.width)
