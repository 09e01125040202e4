"""What a kind of adapter is to the resolver: one function from the recipe's entry to a `ResolvedAdapter`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recipe_runner.canonical import Json
from recipe_runner.plan.resolved import AnySource, ResolvedAdapter, ResolvedBase
from recipe_runner.problems.place import Place

if TYPE_CHECKING:
    from recipe_runner.weights.lora import LoraLayout


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What an adapter is resolved in: the recipe's folder, base and prompts, and a memory for what costs time.

    `once(key, make, *others)` calls `make` once for each value of `key` and identity of `others`. `origin(*path)` is
    the place of a part of the adapter's entry, `place(*path)` that of a part of the recipe. `others` are the members of
    a merge.
    """

    folder: Path
    base: ResolvedBase
    prompts: Sequence[Mapping[str, Any]]
    allow_pickle: bool
    once: Callable[..., Any]
    origin: Callable[..., Place]
    place: Callable[..., Place]
    others: Mapping[str, ResolvedAdapter] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Core:
    """What an adapter with a layout is at any scale."""

    constants: Mapping[str, Json]
    sources: Mapping[str, AnySource]
    layout: LoraLayout | None
    tensors: Mapping[str, int] | None


class Kind(Protocol):
    """One module of this package."""

    def resolve(
        self, name: str, entry: Mapping[str, Any], surroundings: Surroundings, origin: Place
    ) -> ResolvedAdapter:
        """Decide everything about one adapter.

        Raises:
            RecipeRunnerError: its source is broken or refused, or it does not fit the base.
        """
