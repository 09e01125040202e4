"""The result of an export: texts, and a sentence for each part of the recipe that they leave out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recipe_runner.problems.problem import RecipeRunnerError


class ExportRefused(RecipeRunnerError):
    """A recipe that the format cannot express."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Texts by file name; `wrong` has the reasons for other images, `notes` has further information."""

    texts: Mapping[str, str]
    wrong: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
