"""Put whole differences on a model's weights and biases, and put the base's own back, the very same objects.

Nothing is ever added to a weight in place and taken off again, which would not give the same bits. A changed weight is
a new tensor beside the base's own, so a model takes as much memory again as the modules that are changed, and more for
what is kept between images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.lora.deltas import WeightDelta
from recipe_runner.runtime.lora.layers import own_module
from recipe_runner.runtime.lora.tensor_cache import TensorCache, Tensors

MOST_KEPT_BYTES = 1 << 30
"""Memory that deltas and changed weights of one model may take that are kept for the next change of scale."""

_State = tuple[tuple[str, float], ...]
"""The adapters at work on a module, in order, each at its scale."""
_Own = tuple[Any, torch.nn.Parameter, torch.nn.Parameter | None]
"""A module with its own weight and bias."""


class Patches:
    """The whole differences of one model, by module name."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Begin with the model as it is."""
        self._model = model
        self._differences: dict[str, dict[str, list[WeightDelta]]] = {}
        self._standing: dict[str, _State] = {}
        self._own: dict[str, _Own] = {}
        self._kept = TensorCache(MOST_KEPT_BYTES)

    def add(self, name: str, differences: Sequence[WeightDelta]) -> None:
        """Load an adapter, inactive.

        Raises:
            WeightsError: E631, when a module has no bias that a difference could be added to.
        """
        found: dict[str, list[WeightDelta]] = {}
        for difference in differences:
            module: Any = own_module(self._model, difference.module)
            if difference.changes_bias and "bias" not in module._parameters:  # noqa: SLF001 - it may be there as None
                what = f"{difference.module} is a {type(module).__name__}, which has no bias"
                raise WeightsError.of("E631", f"{what}, and the adapter has a difference for one")
            found.setdefault(difference.module, []).append(difference)
        self._differences[name] = found

    def holds(self, name: str, difference: WeightDelta) -> bool:
        """Whether `difference` is loaded in the adapter called `name`."""
        return any(held is difference for held in self._differences.get(name, {}).get(difference.module, ()))

    def activate(self, wanted: Sequence[tuple[str, Mapping[str, float]]]) -> None:
        """Make exactly these adapters work, in this order, each at its scale per module; 0 or absent is off."""
        states: dict[str, list[tuple[str, float]]] = {}
        for name, scales in wanted:
            for module in self._differences.get(name, ()):
                if scales.get(module, 0.0):
                    states.setdefault(module, []).append((name, scales[module]))
        for module in [module for module in self._standing if module not in states]:
            self._put(*self._own[module])
            del self._standing[module]
        self._kept.begin_round()
        with torch.no_grad():
            for module, state in states.items():
                if self._standing.get(module) != tuple(state):
                    self._patch(module, tuple(state))
                    self._standing[module] = tuple(state)

    def remove(self, name: str) -> None:
        """Unload an adapter that is not at work."""
        gone = {each for differences in self._differences.pop(name, {}).values() for each in differences}
        self._kept.forget(gone)

    def _patch(self, module: str, state: _State) -> None:
        if module not in self._own:
            found: Any = own_module(self._model, module)
            self._own[module] = found, found.weight, getattr(found, "bias", None)
        own, weight, bias = self._own[module]
        scaled = [(each, scale) for name, scale in state for each in self._differences[name][module]]

        def changed() -> Tensors:
            deltas = [(scale, self._delta(each, weight)) for each, scale in scaled]
            return (
                _sum(weight, weight, [(scale, of_weight) for scale, (of_weight, _) in deltas]),
                _sum(bias, weight, [(scale, of_bias) for scale, (_, of_bias) in deltas]),
            )

        # Keys hold the differences themselves: what is kept is never that of others which came to have their names.
        new_weight, new_bias = self._kept.get(tuple(part for pair in scaled for part in pair), changed)
        self._put(own, weight if new_weight is None else new_weight, bias if new_bias is None else new_bias)

    def _delta(self, difference: WeightDelta, weight: torch.Tensor) -> Tensors:
        def made() -> Tensors:
            dtype = torch.promote_types(weight.dtype, torch.float32)
            found = difference.of_weight(weight), difference.of_bias(weight.device)
            return tuple(None if delta is None else delta.to(dtype) for delta in found)

        return self._kept.get((difference,), made)

    @staticmethod
    def _put(module: Any, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        # Set as attributes they would cost ten times as much, for checks of what is known.
        parameters = module._parameters  # noqa: SLF001
        # A parameter is marked as the one that it takes the place of.
        marked = parameters["weight"].requires_grad
        for name, tensor in (("weight", weight), ("bias", bias)):
            if parameters.get(name) is not tensor:
                parameters[name] = None if tensor is None else tensor.requires_grad_(marked)


def _sum(base: torch.Tensor | None, like: torch.Tensor, deltas: Sequence[tuple[float, torch.Tensor | None]]) -> Any:
    """A parameter of `base` (None counts as zeros) and all deltas at their scales; None when there are none."""
    found = [(scale, delta) for scale, delta in deltas if delta is not None]
    if not found:
        return None
    total = torch.zeros_like(found[0][1]) if base is None else base.to(found[0][1].dtype)
    for scale, delta in found:
        total = torch.add(total, delta, alpha=scale)
    return torch.nn.Parameter(total.to(like.dtype), requires_grad=False)
