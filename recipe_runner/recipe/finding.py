"""Findings: problems with a path in the recipe, before their line and column are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipe_runner.document.document import Document
    from recipe_runner.document.paths import RecipePath
    from recipe_runner.problems.problem import Problem, Severity


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem at the value at `path`, or at its key if `key`."""

    code: str
    message: str
    path: RecipePath
    hint: str = ""
    key: bool = False
    severity: Severity = "error"

    def under(self, path: RecipePath) -> Finding:
        """The same finding at `path`."""
        return replace(self, path=path)

    def placed(self, document: Document) -> Problem:
        """The finding with its line and column."""
        return document.problem(self.code, self.message, self.path, self.hint, key=self.key, severity=self.severity)
