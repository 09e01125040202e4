"""The adapters of one pipeline, of every kind: each kind has a part that brings its own share to a handle's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from recipe_runner.canonical import Json
from recipe_runner.plan.resolved import ModelHandle, ResolvedAdapter, ResolvedIpAdapter, ResolvedTextualInversion
from recipe_runner.runtime.family import present_parts
from recipe_runner.runtime.ip_adapter.file import IpAdapterFiles
from recipe_runner.runtime.ip_adapter.state import ImagePrompts
from recipe_runner.runtime.lora.file import module_shapes
from recipe_runner.runtime.lora.state import Loras
from recipe_runner.runtime.textual_inversion.state import Embeddings
from recipe_runner.weights.ip_adapter import is_off


class AdapterPart(Protocol):
    """What one kind of adapter leaves in a pipeline. It begins with none, and passes over adapters of other kinds."""

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring the pipeline's components called `parts` to the state of `handle`; what goes leaves nothing behind.

        Raises:
            WeightsError: E6xx, when an adapter or its scale cannot be applied whole.
        """

    def tensor_counts(self, adapter: ResolvedAdapter) -> Mapping[str, tuple[int, int]]:
        """By component: tensors of the adapter's file that landed, and those that there are; {} for another kind."""


class Adapters:
    """The adapters of one loaded pipeline. It begins with none."""

    def __init__(self, pipeline: Any, *, allow_pickle: bool, files: IpAdapterFiles | None = None) -> None:
        """Take over `pipeline`, whose components are as their files left them; `files` are those read already."""
        modules, files = module_shapes(pipeline), files or IpAdapterFiles()
        loras = Loras(pipeline, modules, allow_pickle=allow_pickle)
        self.images = ImagePrompts(pipeline, modules, files, allow_pickle=allow_pickle)
        self._pipeline = pipeline
        self._marked: dict[str, _Marks] = {}
        self._parts: tuple[AdapterPart, ...] = (
            loras,
            Embeddings(pipeline, loras, allow_pickle=allow_pickle),
            self.images,
        )

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring the components called `parts` to the state of `handle`.

        Raises:
            WeightsError: E6xx, when an adapter or its scale cannot be applied whole.
        """
        whole = self._with_bundled(handle)
        for part in self._parts:
            part.reconcile(whole, parts)
        marks = _marks(whole)
        for name in present_parts(self._pipeline, tuple(parts)):
            # Without adapters the components are as their files left them.
            if self._marked.get(name, ()) != marks:
                _mark(getattr(self._pipeline, name))
                self._marked[name] = marks

    def tensor_counts(self, adapter: ResolvedAdapter) -> Mapping[str, tuple[int, int]]:
        """By component: tensors of the adapter's file that landed, and those that there are."""
        found: dict[str, tuple[int, int]] = {}
        each: list[ResolvedAdapter] = [adapter]
        if isinstance(adapter, ResolvedIpAdapter) and self.images.has_lora(adapter):
            each.append(adapter.bundled_lora())
        for part in self._parts:
            for one in each:
                for component, (landed, count) in part.tensor_counts(one).items():
                    held = found.get(component, (0, 0))
                    found[component] = held[0] + landed, held[1] + count
        return found

    def _with_bundled(self, handle: ModelHandle) -> ModelHandle:
        """The handle with the LoRAs inside FaceID files beside them, at scale 1: they are part of the adapter."""
        adapters: list[ResolvedAdapter] = []
        for adapter in handle.adapters:
            adapters.append(adapter)
            if not isinstance(adapter, ResolvedIpAdapter) or is_off(adapter.scale):
                continue
            if self.images.has_lora(adapter):
                adapters.append(adapter.bundled_lora())
        return replace(handle, adapters=tuple(adapters))


_Marks = tuple[ResolvedAdapter, ...]
"""What decides which parameters are in a model: its adapters, with only whether the scale of each is 0."""


def _marks(handle: ModelHandle) -> _Marks:
    # Learned tokens bring no parameters.
    return tuple(
        replace(adapter, scale=_nonzero(adapter.scale))
        for adapter in handle.adapters
        if not isinstance(adapter, ResolvedTextualInversion)
    )


def _nonzero(scale: Json) -> Json:
    if isinstance(scale, Mapping):
        return {name: _nonzero(part) for name, part in scale.items()}
    if isinstance(scale, (list, tuple)):
        return [_nonzero(part) for part in scale]
    return bool(scale)


def _mark(model: torch.nn.Module) -> None:
    """Say which parameters are to be trained as diffusers leaves it: the factors of LoRAs if there are any, else all.

    torch multiplies a view of a tensor, such as one image among several, by another kernel with other last bits where
    the weight is not to be trained.
    """
    tuned = any(isinstance(module, BaseTunerLayer) for module in model.modules())
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_("lora_" in name or not tuned)
