"""The adapters of one pipeline, of every kind: each kind has a part that brings its own share to a handle's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from recipe_runner.handle import AdapterModel, ModelHandle
from recipe_runner.runtime.embeddings import Embeddings
from recipe_runner.runtime.loras import Loras


class Part(Protocol):
    """What one kind of adapter leaves in a pipeline. It begins with none, and passes over adapters of other kinds."""

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring the pipeline's components called `parts` to the state of `handle`; what goes leaves nothing behind.

        Raises:
            WeightsError: E6xx, when an adapter or its scale cannot be applied whole.
        """

    def landing(self, adapter: AdapterModel) -> Mapping[str, tuple[int, int]]:
        """By component: tensors of the adapter's file that landed, and those that there are; {} for another kind."""


class Adapters:
    """The adapters of one loaded pipeline. It begins with none."""

    def __init__(self, pipeline: Any, *, allow_pickle: bool) -> None:
        """Take over `pipeline`, whose components are as their files left them."""
        loras = Loras(pipeline, allow_pickle=allow_pickle)
        self._parts: tuple[Part, ...] = (loras, Embeddings(pipeline, loras, allow_pickle=allow_pickle))

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring the components called `parts` to the state of `handle`.

        Raises:
            WeightsError: E6xx, when an adapter or its scale cannot be applied whole.
        """
        for part in self._parts:
            part.reconcile(handle, parts)

    def landing(self, adapter: AdapterModel) -> Mapping[str, tuple[int, int]]:
        """By component: tensors of the adapter's file that landed, and those that there are."""
        found: dict[str, tuple[int, int]] = {}
        for part in self._parts:
            for component, (landed, count) in part.landing(adapter).items():
                held = found.get(component, (0, 0))
                found[component] = held[0] + landed, held[1] + count
        return found
