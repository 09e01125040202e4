"""The adapters of one pipeline: each kind of adapter has a part that applies its own adapters of a handle."""

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
    """The adapters of one kind in a pipeline; it ignores those of other kinds."""

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring the pipeline's components called `parts` to the state of `handle`; removed adapters leave no trace.

        Raises:
            WeightsError: E6xx, when an adapter or its scale cannot be applied whole.
        """

    def tensor_counts(self, adapter: ResolvedAdapter) -> Mapping[str, tuple[int, int]]:
        """By component: the applied tensors of the adapter's file, and all that it has; {} for another kind."""


class Adapters:
    """The adapters of one loaded pipeline."""

    def __init__(self, pipeline: Any, *, allow_pickle: bool, files: IpAdapterFiles | None = None) -> None:
        """Manage `pipeline`, which has no adapters yet; `files` is a cache of IP-Adapter files."""
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
            # Without adapters the components stay as they were loaded.
            if self._marked.get(name, []) != marks:
                _mark(getattr(self._pipeline, name))
                self._marked[name] = marks

    def tensor_counts(self, adapter: ResolvedAdapter) -> Mapping[str, tuple[int, int]]:
        """By component: the applied tensors of the adapter's file, and all that it has."""
        found: dict[str, tuple[int, int]] = {}
        for part in self._parts:
            for each in self._with_lora(adapter):
                for component, (applied, count) in part.tensor_counts(each).items():
                    earlier = found.get(component, (0, 0))
                    found[component] = earlier[0] + applied, earlier[1] + count
        return found

    def _with_lora(self, adapter: ResolvedAdapter) -> tuple[ResolvedAdapter, ...]:
        """The adapter, and the LoRA in its file if it is a FaceID adapter."""
        if isinstance(adapter, ResolvedIpAdapter) and self.images.has_lora(adapter):
            return adapter, adapter.bundled_lora()
        return (adapter,)

    def _with_bundled(self, handle: ModelHandle) -> ModelHandle:
        """The handle with the LoRAs inside FaceID files at scale 1, because they are part of the adapter."""
        adapters: list[ResolvedAdapter] = []
        for adapter in handle.adapters:
            if isinstance(adapter, ResolvedIpAdapter) and is_off(adapter.scale):
                adapters.append(adapter)
            else:
                adapters.extend(self._with_lora(adapter))
        return replace(handle, adapters=tuple(adapters))


_Marks = list[ResolvedAdapter]
"""The adapters of a model, with scales reduced to whether they are 0: they determine its parameters."""


def _marks(handle: ModelHandle) -> _Marks:
    marks: _Marks = []
    for adapter in handle.adapters:
        # Learned tokens add no parameters.
        if not isinstance(adapter, ResolvedTextualInversion):
            marks.append(replace(adapter, scale=_nonzero(adapter.scale)))
    return marks


def _nonzero(scale: Json) -> Json:
    if isinstance(scale, Mapping):
        return {name: _nonzero(part) for name, part in scale.items()}
    if isinstance(scale, (list, tuple)):
        return list(map(_nonzero, scale))
    return bool(scale)


def _mark(model: torch.nn.Module) -> None:
    """Set `requires_grad` as diffusers does: for the factors of LoRAs if there are any, else for all parameters.

    torch multiplies a view of a tensor, such as one image of a batch, with another kernel and other last bits if the
    weight does not require a gradient.
    """
    tuned = any(isinstance(module, BaseTunerLayer) for module in model.modules())
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_("lora_" in name or not tuned)
