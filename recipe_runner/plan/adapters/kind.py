"""The interface of an adapter kind: one function that resolves an entry of the recipe to a `ResolvedAdapter`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedLora
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.problems.place import Place
from recipe_runner.recipe.matrix import Section


@dataclass(frozen=True, kw_only=True)
class ResolveContext:
    """The context of an adapter: the recipe's folder, base and prompts, and a memory for results that cost time.

    `prompts_section` identifies the prompts among those of other variants. `once(key, make)` calls `make` once for each
    `key`, which holds the numbers of everything that `make` uses. `origin(*path)` is the place of a part of the
    adapter's entry, `place(*path)` of a part of the recipe. `others` are the members of a merge.
    """

    folder: Path
    base: ResolvedBase
    prompts: Sequence[Mapping[str, Any]]
    prompts_section: Section
    allow_pickle: bool
    once: Callable[..., Any]
    origin: Callable[..., Place]
    place: Callable[..., Place]
    others: Mapping[str, ResolvedLora] = field(default_factory=dict)


class Kind(Protocol):
    """One module of this package."""

    def resolve(self, name: str, entry: Mapping[str, Any], context: ResolveContext, origin: Place) -> ResolvedAdapter:
        """Resolve one adapter.

        Raises:
            RecipeRunnerError: its source is broken or refused, or it does not fit the base.
        """
