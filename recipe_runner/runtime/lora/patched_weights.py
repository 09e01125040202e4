"""Replace a model's weights and biases by changed ones, and restore the base's own: the same objects as before.

A weight is never changed in place: subtracting a delta again would not restore the same bits. A changed weight is a new
tensor beside the base's own, so changed modules take twice their memory, and the cache between images takes more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.lora.deltas import WeightDelta
from recipe_runner.runtime.lora.layers import own_module
from recipe_runner.runtime.lora.tensor_cache import TensorCache, Tensors

MOST_KEPT_BYTES = 1 << 30
"""Memory for the deltas and changed weights of one model that are kept for the next change of scale."""

_State = tuple[tuple[str, float], ...]
"""The active adapters of a module, in order, each at its scale."""
_Own = tuple[Any, torch.nn.Parameter, torch.nn.Parameter | None]
"""A module with its own weight and bias."""


class Patches:
    """The whole weight deltas of one model, by module name."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Begin with the model as it is."""
        self._model = model
        self._deltas: dict[str, dict[str, list[WeightDelta]]] = {}
        self._active: dict[str, _State] = {}
        self._own: dict[str, _Own] = {}
        self._cache = TensorCache(MOST_KEPT_BYTES)

    def add(self, name: str, deltas: Sequence[WeightDelta]) -> None:
        """Load an adapter, inactive.

        Raises:
            WeightsError: E631, when the adapter changes the bias of a module without one.
        """
        found: dict[str, list[WeightDelta]] = {}
        for delta in deltas:
            module: Any = own_module(self._model, delta.module)
            if delta.changes_bias and "bias" not in module._parameters:  # noqa: SLF001 - the bias may be None
                raise WeightsError.of(
                    "E631",
                    f"{delta.module} is a {type(module).__name__}, which has no bias, but the adapter changes its bias",
                )
            found.setdefault(delta.module, []).append(delta)
        self._deltas[name] = found

    def holds(self, name: str, delta: WeightDelta) -> bool:
        """Whether the adapter called `name` holds `delta`."""
        return delta in self._deltas.get(name, {}).get(delta.module, ())

    def activate(self, wanted: Sequence[tuple[str, Mapping[str, float]]]) -> None:
        """Activate exactly these adapters, in this order, each at its scale per module; 0 or absent is off."""
        states: dict[str, list[tuple[str, float]]] = {}
        for name, scales in wanted:
            for module in self._deltas.get(name, ()):
                if scales.get(module, 0.0):
                    states.setdefault(module, []).append((name, scales[module]))
        for module in self._active.keys() - states.keys():
            self._put(*self._own[module])
            del self._active[module]
        self._cache.begin_round()
        with torch.no_grad():
            for module, state in states.items():
                if self._active.get(module) != tuple(state):
                    self._patch(module, tuple(state))
                    self._active[module] = tuple(state)

    def remove(self, name: str) -> None:
        """Unload an inactive adapter."""
        gone = chain.from_iterable(self._deltas.pop(name, {}).values())
        self._cache.forget(set(gone))

    def _patch(self, module: str, state: _State) -> None:
        if module not in self._own:
            found: Any = own_module(self._model, module)
            self._own[module] = found, found.weight, getattr(found, "bias", None)
        own, weight, bias = self._own[module]
        scaled: list[tuple[WeightDelta, float]] = []
        for name, scale in state:
            scaled.extend((delta, scale) for delta in self._deltas[name][module])

        def changed() -> Tensors:
            of_weight, of_bias = [], []
            for delta, scale in scaled:
                weight_delta, bias_delta = self._delta(delta, weight)
                of_weight.append((scale, weight_delta))
                of_bias.append((scale, bias_delta))
            return _sum(weight, weight, of_weight), _sum(bias, weight, of_bias)

        # The key holds the deltas themselves: another adapter of the same name, loaded later, has others.
        new_weight, new_bias = self._cache.get(tuple(chain.from_iterable(scaled)), changed)
        new_weight = weight if new_weight is None else new_weight
        new_bias = bias if new_bias is None else new_bias
        self._put(own, new_weight, new_bias)

    def _delta(self, delta: WeightDelta, weight: torch.Tensor) -> Tensors:
        def made() -> Tensors:
            dtype = torch.promote_types(weight.dtype, torch.float32)
            return _cast(delta.of_weight(weight), dtype), _cast(delta.of_bias(weight.device), dtype)

        return self._cache.get((delta,), made)

    @staticmethod
    def _put(module: Any, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        # Setting attributes would take ten times as long, for checks that are not needed here.
        parameters = module._parameters  # noqa: SLF001
        # A parameter gets the `requires_grad` of the one that it replaces.
        marked = parameters["weight"].requires_grad
        for name, tensor in (("weight", weight), ("bias", bias)):
            if parameters.get(name) is tensor:
                continue
            if tensor is not None:
                tensor.requires_grad_(marked)
            parameters[name] = tensor


def _cast(delta: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    return None if delta is None else delta.to(dtype)


def _sum(base: torch.Tensor | None, like: torch.Tensor, deltas: Sequence[tuple[float, torch.Tensor | None]]) -> Any:
    """A parameter of `base` (None counts as zeros) plus all deltas at their scales; None without any delta."""
    total = None
    for scale, delta in deltas:
        if delta is None:
            continue
        if total is None:
            total = _start(base, delta)
        total = torch.add(total, delta, alpha=scale)
    if total is None:
        return None
    return torch.nn.Parameter(total.to(like.dtype), requires_grad=False)


def _start(base: torch.Tensor | None, delta: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(delta) if base is None else base.to(delta.dtype)
