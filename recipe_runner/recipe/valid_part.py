"""Drop the invalid parts of a recipe, so that the rest can still be checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recipe_runner.recipe.load import problems_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recipe_runner.document.document import Document
    from recipe_runner.document.paths import RecipePath
    from recipe_runner.problems.problem import Problem

_WHOLE = {"adapters": 2, "prompts": 2, "sampling": 2, "runtime": 2, "matrix": 2, "seeds": 1, "output": 1}
"""How many levels of a path an invalid part has: an invalid adapter is dropped as a whole."""
_MOST_CUTS = 100


def checkable(document: Document) -> Document | None:
    """The largest valid part of a recipe; None when the base or the whole recipe is invalid.

    Pickles that are not allowed (E330) are allowed here: to check them executes nothing.
    """
    for _ in range(_MOST_CUTS):
        errors = [problem for problem in problems_of(document) if problem.severity == "error"]
        if not errors:
            return document
        if any(problem.code == "E330" for problem in errors):
            document = document.with_overrides(["runtime.allow_pickle=true"])
            continue
        smaller = _without_parts(document, errors)
        if smaller is None:
            return None
        document = smaller
    return None


def _without_parts(document: Document, errors: Sequence[Problem]) -> Document | None:
    """The document without the parts that have errors; None when too little remains."""
    cuts: set[RecipePath] = set()
    for problem in errors:
        path = _cut(document, problem)
        if path is None:
            return None
        cuts.add(path)
    # From the end, so that earlier elements of a list keep their indexes.
    for path in sorted(cuts, key=_order, reverse=True):
        document = document.without(path)
    return document


def _cut(document: Document, problem: Problem) -> RecipePath | None:
    """The path of the part to drop for a problem; None when the rest cannot be checked without it."""
    if problem.path != document.source:
        return None
    path = document.path_at(problem.line, problem.column)
    if not path or (path[0] in ("recipe", "name", "prompts") and len(path) == 1):
        return None
    if path[0] == "base":
        if len(path) > 1 and path[1] in ("scheduler", "dtype"):
            return path[:2]
        return None
    return path[: _WHOLE.get(str(path[0]), 1)]


def _order(path: RecipePath) -> tuple[tuple[bool, str | int], ...]:
    # Names and indexes do not compare.
    return tuple((isinstance(part, int), part) for part in path)
