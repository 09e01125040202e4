"""Insert LoRA layers into a model, switch and scale them, and remove them completely.

peft's layers do the arithmetic. Its injection and bookkeeping are not used, because they match modules by the ends of
their names and keep state on the model. A layer is in the model only while one of its adapters is active there: an idle
adapter, or one at scale 0, costs nothing, and the base's own modules never change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners import lora

from recipe_runner.runtime.lora.deltas import LowRankDelta

_WRAPPERS: Mapping[type[torch.nn.Module], Any] = {
    torch.nn.Embedding: lora.Embedding,
    torch.nn.Conv2d: lora.Conv2d,
    torch.nn.Linear: lora.Linear,
}


def own_module(model: torch.nn.Module, name: str) -> torch.nn.Module:
    """The model's own module of that name, also if a layer wraps it."""
    found: Any = model.get_submodule(name)
    if isinstance(found, lora.LoraLayer):
        found = found.get_base_layer()
    own: torch.nn.Module = found
    return own


def takes_layer(module: torch.nn.Module) -> bool:
    """Whether peft has a layer for the class of `module`."""
    return isinstance(module, tuple(_WRAPPERS))


class Layers:
    """The LoRA layers of one model (a UNet, a transformer, a text encoder), by module name."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Begin with the model as it is: no layers."""
        self._model = model
        self._layers: dict[str, Any] = {}
        self._active: dict[str, tuple[str, ...]] = {}
        self._modules: dict[str, tuple[str, ...]] = {}
        self._parents: dict[str, tuple[torch.nn.Module, str]] = {}

    def add(self, name: str, deltas: Sequence[LowRankDelta]) -> None:
        """Load an adapter, inactive. peft must accept its `name` (no dots), and it must not be loaded yet."""
        self._modules[name] = tuple(delta.module for delta in deltas)
        if deltas:
            self._clear()
        for delta in deltas:
            base: Any = self._model.get_submodule(delta.module)
            layer = self._layers.get(delta.module)
            config = LoraConfig(r=delta.rank, lora_alpha=delta.alpha, init_lora_weights=False, inference_mode=True)
            with torch.device("meta"):
                if layer is None:
                    layer = _wrap(base, name, config, delta)
                else:
                    layer.update_layer(name, delta.rank, lora_alpha=delta.alpha, config=config)
            _fill(layer, name, delta, base.weight)
            self._layers[delta.module] = layer.eval()

    def holds(self, name: str, delta: LowRankDelta) -> bool:
        """Whether the adapter called `name` holds all of `delta`: tensor for tensor, value for value."""
        return delta.module in self._layers and _equal(self._layers[delta.module], name, delta)

    def activate(self, wanted: Sequence[tuple[str, Mapping[str, float]]]) -> None:
        """Activate exactly these adapters, in this order, each at its scale per module; 0 or absent is off."""
        active: dict[str, tuple[str, ...]] = {}
        for module, layer in self._layers.items():
            scales = _active_scales(wanted, layer, module)
            if not scales:
                continue
            names = tuple(scales)
            if self._active.get(module) != names:
                layer.set_adapter(list(names), inference_mode=True)
                self._put(module, layer)
            for name, scale in scales.items():
                layer.set_scale(name, scale)
            active[module] = names
        for module in self._active:
            if module not in active:
                self._put(module, self._layers[module].get_base_layer())
        self._active = active

    def remove(self, name: str) -> None:
        """Unload an inactive adapter: layers that only it uses go, those of other adapters stay as they are."""
        for names in self._active.values():
            if name in names:
                message = f"BUG: {name} is active and cannot be removed"
                raise AssertionError(message)
        for module in self._modules.pop(name):
            layer = self._layers[module]
            layer.delete_adapter(name)
            if not layer.r:
                del self._layers[module]

    def _clear(self) -> None:
        # Restore the base's own modules.
        for module in self._active:
            self._put(module, self._layers[module].get_base_layer())
        self._active = {}

    def _put(self, module: str, layer: torch.nn.Module) -> None:
        if module not in self._parents:
            parent, _, leaf = module.rpartition(".")
            # Layers wrap only leaves, so a parent is always the base's own.
            self._parents[module] = self._model.get_submodule(parent), leaf
        owner, name = self._parents[module]
        setattr(owner, name, layer)


def _active_scales(wanted: Sequence[tuple[str, Mapping[str, float]]], layer: Any, module: str) -> dict[str, float]:
    """The scale of each adapter that is active in a layer, in the wanted order."""
    found = {}
    for name, scales in wanted:
        scale = scales.get(module, 0.0)
        if scale and name in layer.r:
            found[name] = scale
    return found


def _wrap(base: torch.nn.Module, name: str, config: LoraConfig, delta: LowRankDelta) -> Any:
    for kind, wrapper in _WRAPPERS.items():
        if isinstance(base, kind):
            return wrapper(base, name, config=config, r=delta.rank, lora_alpha=delta.alpha)
    message = f"BUG: no layer for a {type(base).__name__}"
    raise AssertionError(message)


def _fill(layer: Any, name: str, delta: LowRankDelta, weight: torch.Tensor) -> None:
    # Copies on the base's device and of its data type, as in diffusers' loaders; the cached tensors stay as they are.
    first, second = _as_held(layer, name, delta)
    first, second = _parameter(first, weight), _parameter(second, weight)
    if name in layer.lora_embedding_A:
        layer.lora_embedding_A[name], layer.lora_embedding_B[name] = first, second
    else:
        layer.lora_A[name].weight, layer.lora_B[name].weight = first, second


def _parameter(tensor: torch.Tensor, like: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(tensor.to(like.device, like.dtype, copy=True), requires_grad=False)


def _as_held(layer: Any, name: str, delta: LowRankDelta) -> tuple[torch.Tensor, torch.Tensor]:
    if name in layer.lora_embedding_A:
        # peft's embedding layer computes (B @ A).T, from A [rank, rows] and B [features, rank].
        return delta.up.T, delta.down.T
    return delta.down, delta.up


def _equal(layer: Any, name: str, delta: LowRankDelta) -> bool:
    if name in layer.lora_embedding_A:
        held = layer.lora_embedding_A[name], layer.lora_embedding_B[name]
    elif name in layer.lora_A:
        held = layer.lora_A[name].weight, layer.lora_B[name].weight
    else:
        return False
    for live, tensor in zip(held, _as_held(layer, name, delta), strict=True):
        if live.shape != tensor.shape or not torch.equal(live, tensor.to(live.device, live.dtype)):
            return False
    return True
