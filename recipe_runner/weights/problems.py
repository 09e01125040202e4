"""One line to raise a problem of weights that are broken, foreign or do not fit."""

from __future__ import annotations

from recipe_runner.problems.problem import Problem, WeightsError


def misfit(code: str, message: str, hint: str = "") -> WeightsError:
    """The error for weights that are broken, foreign or do not fit (E4xx, E5xx, E6xx)."""
    return WeightsError(Problem(code=code, message=message, hint=hint))


def some(names: list[str] | tuple[str, ...], limit: int = 3) -> str:
    """The first names of a list and how many more there are: `a, b, c and 12 more`."""
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
