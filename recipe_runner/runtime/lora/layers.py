"""Put LoRA layers into a model, switch and scale them, and take them out so that nothing of them remains.

peft's layers do the arithmetic; its injection and bookkeeping are left aside, since they match modules by the ends of
their names and keep state on the model. A layer stands in the model only while one of its adapters is at work there:
an idle adapter, or one at scale 0, costs nothing, and the base's own modules are never changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners import lora

from recipe_runner.runtime.lora.deltas import LowRankDelta

_WRAPPERS = (
    (torch.nn.Embedding, lora.Embedding),
    (torch.nn.Conv2d, lora.Conv2d),
    (torch.nn.Linear, lora.Linear),
)


def own_module(model: torch.nn.Module, name: str) -> torch.nn.Module:
    """The model's own module of that name, whether a layer stands around it or not."""
    found: Any = model.get_submodule(name)
    own: torch.nn.Module = found.get_base_layer() if isinstance(found, lora.LoraLayer) else found
    return own


def takes_layer(module: torch.nn.Module) -> bool:
    """Whether peft has a layer for the class of `module`."""
    return isinstance(module, tuple(kind for kind, _ in _WRAPPERS))


class Layers:
    """The LoRA layers of one model (a UNet, a transformer, a text encoder), by module name."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Begin with the model as it is: no layers."""
        self._model = model
        self._layers: dict[str, Any] = {}
        self._standing: dict[str, tuple[str, ...]] = {}
        self._modules: dict[str, tuple[str, ...]] = {}
        self._parents: dict[str, tuple[torch.nn.Module, str]] = {}

    def add(self, name: str, factors: Sequence[LowRankDelta]) -> None:
        """Load an adapter, inactive. `name` is one that peft takes (no dots) and not loaded yet."""
        self._modules[name] = tuple(factor.module for factor in factors)
        if factors:
            self._clear()
        for factor in factors:
            base: Any = self._model.get_submodule(factor.module)
            layer = self._layers.get(factor.module)
            config = LoraConfig(r=factor.rank, lora_alpha=factor.alpha, init_lora_weights=False, inference_mode=True)
            with torch.device("meta"):
                if layer is None:
                    layer = _wrap(base, name, config, factor)
                else:
                    layer.update_layer(name, factor.rank, lora_alpha=factor.alpha, config=config)
            _fill(layer, name, factor, base.weight)
            self._layers[factor.module] = layer.eval()

    def holds(self, name: str, factor: LowRankDelta) -> bool:
        """Whether `factor` stands whole in the adapter called `name`: tensor for tensor, value for value."""
        return factor.module in self._layers and _equal(self._layers[factor.module], name, factor)

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


def _wrap(base: torch.nn.Module, name: str, config: LoraConfig, factor: LowRankDelta) -> Any:
    wrapper = next(wrapper for kind, wrapper in _WRAPPERS if isinstance(base, kind))
    return wrapper(base, name, config=config, r=factor.rank, lora_alpha=factor.alpha)


def _fill(layer: Any, name: str, factor: LowRankDelta, weight: torch.Tensor) -> None:
    # A copy on the base's device and of its data type, as diffusers' loaders make; the cached tensors stay as they are.
    first, second = (
        torch.nn.Parameter(tensor.to(weight.device, weight.dtype, copy=True), requires_grad=False)
        for tensor in _as_held(layer, name, factor)
    )
    if name in layer.lora_embedding_A:
        layer.lora_embedding_A[name], layer.lora_embedding_B[name] = first, second
    else:
        layer.lora_A[name].weight, layer.lora_B[name].weight = first, second


def _as_held(layer: Any, name: str, factor: LowRankDelta) -> tuple[torch.Tensor, torch.Tensor]:
    # peft's embedding layer computes (B @ A).T, from A [rank, rows] and B [features, rank].
    return (factor.up.T, factor.down.T) if name in layer.lora_embedding_A else (factor.down, factor.up)


def _equal(layer: Any, name: str, factor: LowRankDelta) -> bool:
    if name in layer.lora_embedding_A:
        held = layer.lora_embedding_A[name], layer.lora_embedding_B[name]
    elif name in layer.lora_A:
        held = layer.lora_A[name].weight, layer.lora_B[name].weight
    else:
        return False
    return all(
        live.shape == tensor.shape and torch.equal(live, tensor.to(live.device, live.dtype))
        for live, tensor in zip(held, _as_held(layer, name, factor), strict=True)
    )
