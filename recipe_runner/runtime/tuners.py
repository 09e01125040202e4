"""Put LoRA layers into a model, switch and scale them, and take them out so that nothing of them remains.

peft's layers do the arithmetic; its injection and bookkeeping are left aside, since they match modules by the ends of
their names and keep state on the model. A layer stands in the model only while one of its adapters is at work there:
an idle adapter, or one at scale 0, costs nothing, and the base's own modules are never changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners import lora

from recipe_runner.runtime.problems import misfit


@dataclass(frozen=True)
class Factor:
    """The low-rank difference of one module: scale * alpha / rank * up @ down.

    `down` is [rank, in] and `up` [out, rank]; of a convolution [rank, in, kh, kw] and [out, rank, 1, 1]; of an
    embedding [rank, rows] and [features, rank].
    """

    module: str
    down: torch.Tensor
    up: torch.Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """Rank of the difference."""
        return int(self.down.shape[0])


class Tuners:
    """The LoRA layers of one model (a UNet, a transformer, a text encoder), by module name."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Begin with the model as it is: no layers."""
        self._model = model
        self._layers: dict[str, Any] = {}
        self._standing: dict[str, tuple[str, ...]] = {}
        self._modules: dict[str, tuple[str, ...]] = {}
        self._parents: dict[str, tuple[torch.nn.Module, str]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters that are loaded, active or not, in the order they came."""
        return tuple(self._modules)

    def add(self, name: str, factors: Sequence[Factor]) -> None:
        """Load an adapter, inactive. `name` is one that peft takes (no dots) and not loaded yet.

        Raises:
            WeightsError: E608, when a module is of a kind that takes no low-rank difference.
        """
        self._clear()
        for factor in factors:
            base: Any = self._model.get_submodule(factor.module)
            layer = self._layers.get(factor.module)
            config = LoraConfig(r=factor.rank, lora_alpha=factor.alpha, init_lora_weights=False, inference_mode=True)
            with torch.device("meta"):
                if layer is None:
                    layer = _wrapper(factor.module, base, name, config, factor)
                else:
                    layer.update_layer(name, factor.rank, lora_alpha=factor.alpha, config=config)
            _fill(layer, name, factor, base.weight)
            self._layers[factor.module] = layer.eval()
        self._modules[name] = tuple(factor.module for factor in factors)

    def holds(self, name: str, factors: Sequence[Factor]) -> int:
        """How many of `factors` stand whole in the adapter called `name`: tensor for tensor, value for value."""
        return sum(
            factor.module in self._layers and _equal(self._layers[factor.module], name, factor) for factor in factors
        )

    def activate(self, wanted: Sequence[tuple[str, Mapping[str, float]]]) -> None:
        """Make exactly these adapters work, in this order, each at its scale per module; 0 or absent is off."""
        standing: dict[str, tuple[str, ...]] = {}
        for module, layer in self._layers.items():
            active = [(name, scales[module]) for name, scales in wanted if name in layer.r and scales.get(module, 0.0)]
            if not active:
                continue
            names = tuple(name for name, _ in active)
            if self._standing.get(module) != names:
                layer.set_adapter(list(names), inference_mode=True)
                self._put(module, layer)
            for name, scale in active:
                layer.set_scale(name, scale)
            standing[module] = names
        for module in self._standing:
            if module not in standing:
                self._put(module, self._layers[module].get_base_layer())
        self._standing = standing

    def remove(self, name: str) -> None:
        """Unload an adapter that is not at work; what it alone needed goes with it, what others use stays as it is."""
        if any(name in names for names in self._standing.values()):
            message = f"BUG: {name} is at work and cannot be removed"
            raise AssertionError(message)
        for module in self._modules.pop(name):
            layer = self._layers[module]
            layer.delete_adapter(name)
            if not layer.r:
                del self._layers[module]

    def _clear(self) -> None:
        # Back to the base's own modules.
        for module in self._standing:
            self._put(module, self._layers[module].get_base_layer())
        self._standing = {}

    def _put(self, module: str, layer: torch.nn.Module) -> None:
        if module not in self._parents:
            parent, _, leaf = module.rpartition(".")
            # Layers are put around leaves only, so a parent is always the base's own.
            self._parents[module] = self._model.get_submodule(parent), leaf
        owner, name = self._parents[module]
        setattr(owner, name, layer)


_WRAPPERS = (
    (torch.nn.Embedding, lora.Embedding),
    (torch.nn.Conv2d, lora.Conv2d),
    (torch.nn.Linear, lora.Linear),
)


def _wrapper(module: str, base: torch.nn.Module, name: str, config: LoraConfig, factor: Factor) -> Any:
    for kind, wrapper in _WRAPPERS:
        if isinstance(base, kind):
            return wrapper(base, name, config=config, r=factor.rank, lora_alpha=factor.alpha)
    raise misfit("E608", f"{module} is a {type(base).__name__}, which takes no low-rank difference")


def _fill(layer: Any, name: str, factor: Factor, weight: torch.Tensor) -> None:
    # A copy on the base's device and of its data type, as diffusers' loaders make; the cached tensors stay as they are.
    down, up = (
        torch.nn.Parameter(tensor.to(weight.device, weight.dtype, copy=True), requires_grad=False)
        for tensor in (factor.down, factor.up)
    )
    if name in layer.lora_embedding_A:
        layer.lora_embedding_A[name], layer.lora_embedding_B[name] = down, up
    else:
        layer.lora_A[name].weight, layer.lora_B[name].weight = down, up


def _equal(layer: Any, name: str, factor: Factor) -> bool:
    if name in layer.lora_embedding_A:
        held = layer.lora_embedding_A[name], layer.lora_embedding_B[name]
    elif name in layer.lora_A:
        held = layer.lora_A[name].weight, layer.lora_B[name].weight
    else:
        return False
    return all(
        live.shape == tensor.shape and torch.equal(live, tensor.to(live.device, live.dtype))
        for live, tensor in zip(held, (factor.down, factor.up), strict=True)
    )
