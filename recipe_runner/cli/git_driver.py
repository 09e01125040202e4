"""`recipe-runner diff --git`: git's diff command for recipes, locks and manifests (`diff.<driver>.command`)."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from recipe_runner.diff.compare import compare
from recipe_runner.diff.operand import NOTHING, read_side
from recipe_runner.problems.codes import USAGE
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.report.diff import diff_text
from recipe_runner.report.escape import Coloured, visible
from recipe_runner.report.terminal.colour import wants_colour
from recipe_runner.report.terminal.problems import problem_text

ARGUMENTS = (7, 9)
"""How many arguments git passes: `path old-file old-hex old-mode new-file new-hex new-mode`, and for a renamed file
also its new path and a description."""


def answer(given: Sequence[str]) -> int:
    """Write the difference and return 0, because git stops at any other status.

    Files that cannot be compared by meaning are compared line by line, after the reason.
    """
    if len(given) not in ARGUMENTS:
        sys.stderr.write("recipe-runner diff --git: expected the seven arguments of git, or nine for a renamed file\n")
        return USAGE
    old_path, old_file, new_file = given[0], given[1], given[4]
    new_path = given[7] if len(given) == ARGUMENTS[1] else old_path
    colour = wants_colour(sys.stdout) or os.environ.get("GIT_PAGER_IN_USE") == "true"
    labels = (f"a/{old_path}", f"b/{new_path}")
    try:
        # git runs its diff command at the top of the working tree.
        old = read_side(old_file, labels[0], Path(old_path).parent)
        new = read_side(new_file, labels[1], Path(new_path).parent)
        text = diff_text(compare(old, new), colour=colour)
    except RecipeRunnerError as error:
        text = "".join(problem_text(problem, colour=colour) for problem in error.problems)
        text += visible("".join(difflib.unified_diff(_lines(old_file), _lines(new_file), *labels)))
    sys.stdout.write(Coloured(f"{text}\n"))
    return 0


def _lines(file: str) -> list[str]:
    if file == NOTHING:
        return []
    text = Path(file).read_bytes().decode("utf-8", "replace")
    return [f"{line}\n" for line in text.splitlines()]
