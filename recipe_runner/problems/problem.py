"""Problems, and the errors that carry them.

A `Problem` is one located sentence for a person; a `RecipeRunnerError` is one or more of them raised together.
Every code is registered in `recipe_runner.problems.codes`, which also decides the exit status.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake, and where it stands.

    `line` and `column` count from 1 and are 0 when the problem has no place in a text (a missing device, say).
    `width` is how many columns the caret underlines; `source_line` is the offending line as it was read.
    """

    code: str
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    width: int = 1
    hint: str = ""
    source_line: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        """The problem on one line, as compilers write it."""
        place = f"{self.path}:{self.line}:{self.column}: " if self.line else f"{self.path}: " if self.path else ""
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

    def at(self, path: str, line: int, column: int, source_line: str = "", width: int = 1) -> RecipeRunnerError:
        """The same error with every problem that has no place yet put at this one."""
        place = {"path": path, "line": line, "column": column, "source_line": source_line, "width": width}
        placed = tuple(p if p.line else replace(p, **place) for p in self.problems)  # type: ignore[arg-type]
        return type(self)(*placed)


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


class GraphError(RecipeRunnerError):
    """A build graph that cannot be ordered or executed."""


class OperationFailed(RecipeRunnerError):
    """An operation of the graph did not succeed while it ran."""


class RecordError(RecipeRunnerError):
    """A run folder, store or manifest cannot be read or written."""
