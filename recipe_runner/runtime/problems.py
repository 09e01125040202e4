"""One line to raise a located problem of the runtime."""

from __future__ import annotations

from recipe_runner.problems.problem import OperationFailed, Problem
from recipe_runner.weights.problems import misfit, some

__all__ = ["failed", "misfit", "some", "warning"]


def failed(code: str, message: str, hint: str = "") -> OperationFailed:
    """The error for an operation that did not succeed (E7xx)."""
    return OperationFailed(Problem(code=code, message=message, hint=hint))


def warning(code: str, message: str, hint: str = "") -> Problem:
    """A warning: nothing failed, but the user should know."""
    return Problem(code=code, message=message, hint=hint, severity="warning")
