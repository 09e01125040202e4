"""Problems, and the errors that carry them.

A `Problem` is one message with a place; a `RecipeRunnerError` carries one or more of them.
`recipe_runner.problems.codes` registers every code with its exit status.
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
    """One mistake and its place. Everything in an address that looks like a credential is masked."""

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
        """A warning at a place: nothing failed."""
        return cls.at(place, code, message, hint, "warning")

    @property
    def path(self) -> str:
        """The file of the problem; empty for a problem without a place."""
        return self.place.path

    @property
    def line(self) -> int:
        """Its line, from 1; 0 for a problem of a whole file, or without a place."""
        return self.place.line

    @property
    def column(self) -> int:
        """Its column, from 1; 0 when there is no line."""
        return self.place.column

    def moved_to(self, place: Place) -> Problem:
        """The same problem at another place."""
        return replace(self, place=place)

    def placed(self, place: Place) -> Problem:
        """The same problem with a place, when it has no line."""
        if self.line:
            return self
        return self.moved_to(place)

    def one_line(self) -> str:
        """The problem as runs report and record a warning: place, message, code."""
        text = f"{self.message} [{self.code}]"
        if not self.line:
            return text
        return f"{self.path}:{self.line}: {text}"

    def __str__(self) -> str:
        """The problem on one line, as compilers write it."""
        text = f"{self.severity}[{self.code}]: {self.message}"
        if not self.path:
            return text
        return f"{self.place}: {text}"


class RecipeRunnerError(Exception):
    """The base class of all errors of this package: one or more problems, in order.

    `about` is the part of the recipe's entry that the problem is about, as a path inside the entry, for code that knows
    this part but not the place of the entry: `("scale", "unet", "down")` of an adapter.
    """

    about: tuple[str, ...] = ()

    def __init__(self, *problems: Problem) -> None:
        """Hold at least one problem."""
        if not problems:
            raise AssertionError("BUG: an error without a problem")
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    def on(self, *about: str) -> Self:
        """The same error, about this part of the entry."""
        self.about = about
        return self

    def at(self, place: Place) -> RecipeRunnerError:
        """The same error; every problem without a line gets the place."""
        return type(self)(*[problem.placed(place) for problem in self.problems])

    @classmethod
    def of(cls, code: str, message: str, hint: str = "") -> Self:
        """An error of one problem without a place; the code that catches it adds the place (see `at`)."""
        return cls(Problem(code=code, message=message, hint=hint))


@contextmanager
def at(place: Place) -> Iterator[None]:
    """Give the place to the problems of an error that the block raises, unless they have a line."""
    try:
        yield
    except RecipeRunnerError as error:
        raise error.at(place) from error


class RecipeSyntaxError(RecipeRunnerError):
    """The text is not a document: bad YAML, encoding, size.

    `rest` is the part that can be read, with null for each unreadable value: a tree of nodes, or the document. It is
    None when nothing after the problem can be read reliably.
    """

    rest: object = None


class RecipeInvalid(RecipeRunnerError):
    """The document is not a valid recipe; carries all its problems."""


class ResolutionError(RecipeRunnerError):
    """A file or model that the recipe names is missing, unreadable, or of another kind."""


class WeightsError(RecipeRunnerError):
    """A weights file is damaged, of an unknown format, refused, or does not fit."""


class OperationFailed(RecipeRunnerError):
    """An operation of the graph failed."""


class RecordError(RecipeRunnerError):
    """A run folder, store or manifest cannot be read or written."""
