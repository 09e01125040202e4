"""Problems, and the errors that carry them.

A `Problem` is one located sentence for a person; a `RecipeRunnerError` is one or more of them raised together.
Every code is registered in `recipe_runner.problems.codes`, which also decides the exit status.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Self

from recipe_runner.problems.credentials import masked
from recipe_runner.problems.place import NOWHERE, Place

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake, and its place. What looks like a credential in an address is masked in all of it."""

    code: str
    message: str
    place: Place = NOWHERE
    hint: str = ""
    severity: Severity = "error"

    def __post_init__(self) -> None:
        """Mask credentials, so that no format of a problem prints one."""
        place = self.place._replace(path=masked(self.place.path), source_line=masked(self.place.source_line))
        object.__setattr__(self, "place", place)
        object.__setattr__(self, "message", masked(self.message))
        object.__setattr__(self, "hint", masked(self.hint))

    @classmethod
    def at(cls, place: Place, code: str, message: str, hint: str = "", severity: Severity = "error") -> Self:
        """A problem at a place."""
        return cls(code=code, message=message, place=place, hint=hint, severity=severity)

    @classmethod
    def warning(cls, place: Place, code: str, message: str, hint: str) -> Self:
        """A warning at a place: nothing failed, but the user should know."""
        return cls.at(place, code, message, hint, "warning")

    @property
    def path(self) -> str:
        """The file that it is in; empty for a problem without a place."""
        return self.place.path

    @property
    def line(self) -> int:
        """Its line, from 1; 0 for a problem of a whole file, or without a place."""
        return self.place.line

    @property
    def column(self) -> int:
        """Its column, from 1; 0 where there is no line."""
        return self.place.column

    def moved_to(self, place: Place) -> Problem:
        """The same problem at another place."""
        return replace(self, place=place)

    def one_line(self) -> str:
        """The problem as runs report and record a warning: place, message, code."""
        place = f"{self.path}:{self.line}: " if self.line else ""
        return f"{place}{self.message} [{self.code}]"

    def __str__(self) -> str:
        """The problem on one line, as compilers write it."""
        place = f"{self.place}: " if self.place.path else ""
        return f"{place}{self.severity}[{self.code}]: {self.message}"


class RecipeRunnerError(Exception):
    """The root of everything this package raises on purpose: one problem or several, in order.

    `about` is the part of the recipe's entry that the problem is about, as a path within the entry, where whoever
    raised the error knew it and not the entry's place: `("scale", "unet", "down")` of an adapter.
    """

    about: tuple[str, ...] = ()

    def __init__(self, *problems: Problem) -> None:
        """Hold at least one problem."""
        if not problems:
            message = "BUG: an error without a problem"
            raise AssertionError(message)
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    def on(self, *about: str) -> Self:
        """The same error, about this part of the entry."""
        self.about = about
        return self

    def at(self, place: Place) -> RecipeRunnerError:
        """The same error with every problem that has no line yet moved to a place."""
        return type(self)(*(each if each.line else each.moved_to(place) for each in self.problems))

    @classmethod
    def of(cls, code: str, message: str, hint: str = "") -> Self:
        """An error of one problem, whose place whoever catches it knows (see `at`)."""
        return cls(Problem(code=code, message=message, hint=hint))


@contextmanager
def at(place: Place) -> Iterator[None]:
    """Move the problems of an error that leaves the block to a place, unless they have one."""
    try:
        yield
    except RecipeRunnerError as error:
        raise error.at(place) from error


class RecipeSyntaxError(RecipeRunnerError):
    """The text is not a document: bad YAML, encoding, size.

    `rest` is what could be read nevertheless, with null in the place of each value that could not: a tree of nodes, or
    the document. It is None where nothing after the problem can be read in earnest.
    """

    rest: object = None


class RecipeInvalid(RecipeRunnerError):
    """The document is not a recipe; all its problems at once."""


class ResolutionError(RecipeRunnerError):
    """Something the recipe names is missing, unreadable, or not what the recipe says."""


class WeightsError(RecipeRunnerError):
    """A weights file is broken, foreign, refused, or does not fit."""


class OperationFailed(RecipeRunnerError):
    """An operation of the graph did not succeed while it ran."""


class RecordError(RecipeRunnerError):
    """A run folder, store or manifest cannot be read or written."""
