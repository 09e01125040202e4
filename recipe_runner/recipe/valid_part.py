"""What of a recipe with mistakes can be checked against files all the same: what is left without their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recipe_runner.recipe.load import problems_of

if TYPE_CHECKING:
    from recipe_runner.document.document import Document
    from recipe_runner.document.paths import RecipePath
    from recipe_runner.problems.problem import Problem

_WHOLE = {"adapters": 2, "prompts": 2, "sampling": 2, "runtime": 2, "matrix": 2, "seeds": 1, "output": 1}
"""How much of a section goes with a mistake in it: an adapter is judged whole or not at all."""
_MOST_CUTS = 100


def checkable(document: Document) -> Document | None:
    """The largest part of a recipe that is valid by itself; None where the base, or all of it, is in doubt.

    A pickle that is not allowed (E330) stays, allowed: looking into it runs nothing.
    """
    for _ in range(_MOST_CUTS):
        errors = [problem for problem in problems_of(document) if problem.severity == "error"]
        if not errors:
            return document
        if any(problem.code == "E330" for problem in errors):
            document = document.with_overrides(["runtime.allow_pickle=true"])
            continue
        cuts = {_cut(document, problem): None for problem in errors}
        if None in cuts:
            return None
        # From the end, so that what stands before in a list keeps its place.
        for path in sorted((path for path in cuts if path is not None), key=_place, reverse=True):
            document = document.without(path)
    return None


def _cut(document: Document, problem: Problem) -> RecipePath | None:
    """The part that goes with a problem; None where nothing can be said of the rest."""
    if problem.path != document.source:
        return None
    path = document.path_at(problem.line, problem.column)
    if not path or (path[0] in ("recipe", "name", "prompts") and len(path) == 1):
        return None
    if path[0] == "base":
        return path[:2] if path[1:2] in (("scheduler",), ("dtype",)) else None
    return path[: _WHOLE.get(str(path[0]), 1)]


def _place(path: RecipePath) -> tuple[tuple[bool, str | int], ...]:
    return tuple((isinstance(part, int), part) for part in path)
