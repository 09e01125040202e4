"""The adapters of one model: loaded, switched and scaled, and taken out so that nothing of them remains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from recipe_runner.runtime.lora.deltas import Change, LowRankDelta, WeightDelta
from recipe_runner.runtime.lora.layers import Layers, own_module, takes_layer
from recipe_runner.runtime.lora.patched_weights import Patches


class Tuners:
    """What adapters change in one model (a UNet, a transformer, a text encoder), by adapter and module name.

    Pairs of factors are peft's layers, whole differences are new weights; both may be on one module.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        """Begin with the model as it is."""
        self._model = model
        self._layers = Layers(model)
        self._patches = Patches(model)
        self._changes: dict[str, tuple[Change, ...]] = {}
        self._sizes_bytes: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters that are loaded, active or not, in the order they came."""
        return tuple(self._changes)

    @property
    def size_bytes(self) -> int:
        """Memory that the tensors of all loaded adapters take."""
        return sum(self._sizes_bytes.values())

    def add(self, name: str, changes: Sequence[Change]) -> None:
        """Load an adapter, inactive. `name` is one that peft takes (no dots) and not loaded yet.

        Raises:
            WeightsError: E631, when a module has no bias that a difference could be added to.
        """
        kept = tuple(self._as_applied(change) for change in changes)
        self._layers.add(name, [change for change in kept if isinstance(change, LowRankDelta)])
        self._patches.add(name, [change for change in kept if isinstance(change, WeightDelta)])
        self._changes[name] = kept
        self._sizes_bytes[name] = sum(change.size_bytes for change in kept)

    def holds(self, name: str) -> int:
        """How many of the changes of the adapter called `name` stand whole, tensor for tensor, value for value."""
        return sum(
            self._layers.holds(name, change) if isinstance(change, LowRankDelta) else self._patches.holds(name, change)
            for change in self._changes[name]
        )

    def activate(self, wanted: Sequence[tuple[str, Mapping[str, float]]]) -> None:
        """Make exactly these adapters work, in this order, each at its scale per module; 0 or absent is off.

        All differences are sums: order decides no more than the last bits.
        """
        self._layers.activate(wanted)
        self._patches.activate(wanted)

    def remove(self, name: str) -> None:
        """Unload an adapter that is not at work."""
        self._layers.remove(name)
        self._patches.remove(name)
        del self._changes[name], self._sizes_bytes[name]

    def _as_applied(self, change: Change) -> Change:
        if isinstance(change, LowRankDelta) and not takes_layer(own_module(self._model, change.module)):
            return change.whole()
        return change
