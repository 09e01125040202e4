"""How commands write their results, and the exit status that problems lead to."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from recipe_runner.problems.codes import CODES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recipe_runner.problems.problem import Problem


def write_json(result: object) -> None:
    """Write `result` to stdout as one indented JSON object."""
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def write_lines(lines: Iterable[object]) -> None:
    """Write each line to stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def errors_among(problems: Iterable[Problem]) -> list[Problem]:
    """The problems that are errors."""
    return [problem for problem in problems if problem.severity == "error"]


def exit_status(problems: Iterable[Problem]) -> int:
    """The gravest exit status of the errors among `problems`; 0 without an error."""
    return max((CODES[problem.code].exit_status for problem in errors_among(problems)), default=0)
