"""The LoRA and LyCORIS adapters of one model: load, switch, scale and remove them completely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from recipe_runner.runtime.lora.deltas import Change, LowRankDelta, WeightDelta
from recipe_runner.runtime.lora.layers import Layers, own_module, takes_layer
from recipe_runner.runtime.lora.patched_weights import Patches


class Tuners:
    """The changes of one model (a UNet, a transformer, a text encoder), by adapter and module name.

    Low-rank deltas become peft's layers, whole deltas new weights; one module may have both.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        """A model without adapters."""
        self._model = model
        self._layers = Layers(model)
        self._patches = Patches(model)
        self._changes: dict[str, tuple[Change, ...]] = {}
        self._sizes_bytes: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The loaded adapters, active or not, in the order of loading."""
        return tuple(self._changes)

    @property
    def size_bytes(self) -> int:
        """Memory of the tensors of all loaded adapters."""
        return sum(self._sizes_bytes.values())

    def add(self, name: str, changes: Sequence[Change]) -> None:
        """Load an adapter, inactive. peft must accept its `name` (no dots), and it must not be loaded yet.

        Raises:
            WeightsError: E631, when the adapter changes the bias of a module without one.
        """
        low_rank: list[LowRankDelta] = []
        whole: list[WeightDelta] = []
        applied = tuple(map(self._as_applied, changes))
        for change in applied:
            if isinstance(change, LowRankDelta):
                low_rank.append(change)
            else:
                whole.append(change)
        self._layers.add(name, low_rank)
        self._patches.add(name, whole)
        self._changes[name] = applied
        self._sizes_bytes[name] = sum(change.size_bytes for change in applied)

    def holds(self, name: str) -> int:
        """How many changes of the adapter called `name` the model holds whole: tensor for tensor, value for value."""
        return sum(self._holds(name, change) for change in self._changes[name])

    def _holds(self, name: str, change: Change) -> bool:
        if isinstance(change, LowRankDelta):
            return self._layers.holds(name, change)
        return self._patches.holds(name, change)

    def activate(self, wanted: Sequence[tuple[str, Mapping[str, float]]]) -> None:
        """Activate exactly these adapters, in this order, each at its scale per module; 0 or absent is off.

        Deltas are added up, so the order affects only the last bits.
        """
        self._layers.activate(wanted)
        self._patches.activate(wanted)

    def remove(self, name: str) -> None:
        """Unload an inactive adapter."""
        self._layers.remove(name)
        self._patches.remove(name)
        del self._changes[name], self._sizes_bytes[name]

    def _as_applied(self, change: Change) -> Change:
        if isinstance(change, LowRankDelta) and not takes_layer(own_module(self._model, change.module)):
            return change.whole()
        return change
