"""Rules between fields (being written)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipe_runner.document import Document
    from recipe_runner.errors import Problem


def check_rules(document: Document) -> tuple[Problem, ...]:
    """Every problem between fields."""
    del document
    return ()
