"""Put whole differences on a model's weights and biases, and put the base's own back, the very same objects.

Nothing is ever added to a weight in place and taken off again, which would not give the same bits. A changed weight is
a new tensor beside the base's own, so a model takes as much memory again as the modules that are changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from recipe_runner.runtime.changes import Difference
from recipe_runner.runtime.layers import own_module
from recipe_runner.runtime.problems import misfit

_State = tuple[tuple[str, float], ...]
_Own = tuple[Any, torch.nn.Parameter, torch.nn.Parameter | None]
"""A module with its own weight and bias."""


class Patches:
    """The whole differences of one model, by module name."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Begin with the model as it is."""
        self._model = model
        self._differences: dict[str, dict[str, list[Difference]]] = {}
        self._standing: dict[str, _State] = {}
        self._own: dict[str, _Own] = {}

    def add(self, name: str, differences: Sequence[Difference]) -> None:
        """Load an adapter, inactive.

        Raises:
            WeightsError: E631, when a module has no bias that a difference could be added to.
        """
        found: dict[str, list[Difference]] = {}
        for difference in differences:
            module: Any = own_module(self._model, difference.module)
            if difference.changes_bias and "bias" not in module._parameters:  # noqa: SLF001 - it may be there as None
                what = f"{difference.module} is a {type(module).__name__}, which has no bias"
                raise misfit("E631", f"{what}, and the adapter has a difference for one")
            found.setdefault(difference.module, []).append(difference)
        self._differences[name] = found

    def holds(self, name: str, difference: Difference) -> bool:
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
            self._put(*self._own.pop(module))
            del self._standing[module]
        for module, state in states.items():
            if self._standing.get(module) != tuple(state):
                self._patch(module, state)
                self._standing[module] = tuple(state)

    def remove(self, name: str) -> None:
        """Unload an adapter that is not at work."""
        self._differences.pop(name, None)

    @torch.no_grad()
    def _patch(self, module: str, state: Sequence[tuple[str, float]]) -> None:
        if module not in self._own:
            found: Any = own_module(self._model, module)
            self._own[module] = found, found.weight, getattr(found, "bias", None)
        own, weight, bias = self._own[module]
        of_weight, of_bias = [], []
        for name, scale in state:
            for difference in self._differences[name][module]:
                of_weight.append((scale, difference.of_weight(weight)))
                of_bias.append((scale, difference.of_bias(weight.device)))
        # A parameter is marked as the one that it takes the place of.
        marked = bool(own.weight.requires_grad)
        self._put(own, _sum(weight, weight, of_weight, marked=marked), _sum(bias, weight, of_bias, marked=marked))

    @staticmethod
    def _put(module: Any, weight: torch.nn.Parameter, bias: torch.nn.Parameter | None) -> None:
        if module.weight is not weight:
            module.weight = weight
        if getattr(module, "bias", None) is not bias:
            module.bias = bias


def _sum(
    base: Any, like: torch.Tensor, differences: Sequence[tuple[float, torch.Tensor | None]], *, marked: bool
) -> Any:
    """`base` (None counts as zeros) and all differences at their scales, rounded once; itself when there are none."""
    found = [(scale, difference) for scale, difference in differences if difference is not None]
    if not found:
        return base
    total = torch.zeros_like(found[0][1]) if base is None else base.to(torch.float64, copy=True)
    for scale, difference in found:
        total.add_(difference, alpha=scale)
    return torch.nn.Parameter(total.to(like.dtype), requires_grad=marked)
