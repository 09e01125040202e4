"""What an exporter leaves: the text, and a sentence for each thing that it does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recipe_runner.problems.problem import RecipeRunnerError


class ExportRefused(RecipeRunnerError):
    """A recipe that the wanted format cannot say anything of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One or several texts by file name; `wrong` is what makes other pictures, `notes` are worth knowing."""

    texts: Mapping[str, str]
    wrong: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
