"""Give whatever fails in a block a place in the recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from recipe_runner.document.document import Mark
from recipe_runner.graph.graph import Origin
from recipe_runner.problems.problem import Problem, RecipeRunnerError


@contextmanager
def placed(origin: Origin) -> Iterator[None]:
    """Put the problems of an error that leaves the block at `origin`, unless they have a place already."""
    try:
        yield
    except RecipeRunnerError as error:
        raise error.at(origin.path, origin.line, origin.column, origin.source_line, origin.width) from error


def told_as(problem: Problem) -> str:
    """A warning on one line, as runs tell and record it."""
    place = f"{problem.path}:{problem.line}: " if problem.line else ""
    return f"{place}{problem.message} [{problem.code}]"


def origin_at(mark: Mark) -> Origin:
    """The place `mark` of a recipe as an origin."""
    return Origin(mark.source, mark.line, mark.column, mark.source_line, mark.width)


def put_at(origin: Origin, problem: Problem) -> Problem:
    """A problem at the place `origin` of the recipe."""
    return replace(
        problem,
        path=origin.path,
        line=origin.line,
        column=origin.column,
        width=origin.width,
        source_line=origin.source_line,
    )


def warning_at(origin: Origin, code: str, message: str, hint: str) -> Problem:
    """A warning at the place `origin` of the recipe."""
    return put_at(origin, Problem(code=code, message=message, hint=hint, severity="warning"))
