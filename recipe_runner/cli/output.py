"""How commands write their results, and the exit status for problems."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from recipe_runner.problems.codes import CODES
from recipe_runner.problems.problem import Problem, RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def write_json(result: object) -> None:
    """Write `result` to stdout as one indented JSON object."""
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def write_lines(lines: Iterable[object]) -> None:
    """Write each line to stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def write_new(path: Path, text: str, *, force: bool, make_folder: bool = False) -> None:
    """Write `text` to `path`; overwrite an existing file only with `force`.

    Raises:
        RecordError: E902 the file exists, E801 it cannot be written.
    """
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        problem = Problem(
            code="E902", message=f"{path} exists", hint="choose another name, or use --force to overwrite it"
        )
        raise RecordError(problem) from error
    except OSError as error:
        raise RecordError(Problem(code="E801", message=f"{path} cannot be written: {error.strerror}")) from error


def errors_among(problems: Iterable[Problem]) -> list[Problem]:
    """The problems that are errors."""
    return [problem for problem in problems if problem.severity == "error"]


def exit_status(problems: Iterable[Problem]) -> int:
    """The gravest exit status of the errors among `problems`; 0 without an error."""
    return max((CODES[problem.code].exit_status for problem in errors_among(problems)), default=0)
