"""The IP-Adapters that a pipeline holds, and the steps from the state it is in to the state a handle asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers.image_processor import IPAdapterMaskProcessor

from recipe_runner.canonical import Json, digest
from recipe_runner.images.read import read_picture
from recipe_runner.plan.resolved import ModelHandle, ResolvedAdapter, ResolvedIpAdapter
from recipe_runner.problems.problem import WeightsError, at
from recipe_runner.runtime.ip_adapter.encode import EmbeddingPair, ImageConditioning
from recipe_runner.runtime.ip_adapter.families import IpAdapterBackend, backend_of
from recipe_runner.runtime.ip_adapter.file import IpAdapterFile, IpAdapterFiles
from recipe_runner.runtime.ip_adapter.projection import Built, build, joined
from recipe_runner.runtime.load.file_guard import unchanged
from recipe_runner.runtime.lru import Lru
from recipe_runner.weights.ip_adapter import (
    AdapterFamily,
    AttentionPlace,
    check_abilities,
    check_family,
    check_pipeline,
    expand_ip_scale,
    fit_ip_adapter,
    is_off,
)
from recipe_runner.weights.modules import Modules, ModuleTable

MOST_BUILT = 4
"""IP-Adapters kept on the device at once; those unused longest leave first."""
MOST_EXPANDED = 256
"""Scales that were spread over the attentions, kept so that a sweep does it once."""

_Scales = tuple[tuple[float, ...], ...]
_Instance = tuple[str, int]
"""The contents of a file, and how many adapters before have the same: each has a projection of its own."""


class ImagePrompts:
    """The IP-Adapters of one loaded pipeline. It begins with none.

    Several are one joint state, as diffusers loads them: each attention gets a processor with the layers of all, in the
    handle's order. An adapter at scale 0 everywhere is not part of it. What differs by the pipeline's family is its
    backend's part.
    """

    def __init__(self, pipeline: Any, modules: ModuleTable, files: IpAdapterFiles, *, allow_pickle: bool) -> None:
        """Take over `pipeline`, whose components are as their files left them; `modules` are theirs."""
        self._pipeline = pipeline
        self._files = files
        self._allow_pickle = allow_pickle
        self._backend = backend_of(pipeline)
        self._modules: Modules = {} if self._backend is None else modules.get(self._backend[0].component, {})
        self._places: tuple[AttentionPlace, ...] = (
            () if self._backend is None else self._backend[0].places(self._modules)
        )
        self._fitted: dict[str, None] = {}
        self._built: Lru[_Instance, Built] = Lru(MOST_BUILT)
        self._expanded: Lru[str, dict[str, float]] = Lru(MOST_EXPANDED)
        self._standing: tuple[_Instance, ...] = ()
        self._scales: _Scales = ()
        self._processors: dict[str, Any] = {}
        self._originals: dict[str, Any] = {}
        self._detach: Callable[[], None] | None = None

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring the denoiser to the state of `handle`, where `parts` names it.

        Raises:
            WeightsError: E4xx, E606 to E613, E640 to E642, E649, E656 when an adapter cannot be applied whole.
        """
        wanted = active(handle)
        for count, adapter in enumerate(wanted, 1):
            self._fit(adapter)
            with at(adapter.origin):
                label = f"adapter {adapter.name}"
                check_abilities(self._family, masks=len(adapter.masks), adapters=count, label=label)
        if self._backend is None or self._family.component not in parts:
            return
        instances = _instances(wanted)
        built = [
            self._built.hold(instance, partial(self._build, adapter))
            for adapter, instance in zip(wanted, instances, strict=True)
        ]
        if instances != self._standing:
            self._restore()
            if built:
                self._put(built)
            self._standing, self._scales = instances, ()
        self._scale(wanted)
        self._built.trim(len(instances))

    def tensor_counts(self, adapter: ResolvedAdapter) -> Mapping[str, tuple[int, int]]:
        """By component: tensors of the adapter's file that landed, and those that there are; a LoRA's are not here."""
        if not isinstance(adapter, ResolvedIpAdapter):
            return {}
        layout = self._fit(adapter).layout
        projection, layers = len(layout.projection), sum(map(len, layout.layers.values()))
        return {layout.family.component: (layers, layers), "image_proj": (projection, projection)}

    def has_lora(self, adapter: ResolvedIpAdapter) -> bool:
        """Whether a LoRA is bundled in the adapter's file."""
        return bool(self._fit(adapter).layout.lora)

    @contextmanager
    def arguments(
        self,
        handle: ModelHandle,
        images: Sequence[Sequence[ImageConditioning]],
        size: tuple[int, int],
        *,
        guided: bool,
    ) -> Iterator[dict[str, Any]]:
        """Arguments of the pipeline's call for a batch, of which each member is shown `images`, one for each adapter.

        `size` is height and width in pixels. While the block runs, FaceID Plus's projections hold the faces' hidden
        states.
        """
        adapters = active(handle)
        if any(len(member) != len(adapters) for member in images):
            message = f"BUG: {[len(member) for member in images]} image prompts for {len(adapters)} IP-Adapters"
            raise AssertionError(message)
        if not adapters:
            yield {}
            return
        shown = [[member[index] for member in images] for index in range(len(adapters))]
        embeds = [
            self._pairs(adapter, [each.embeds for each in one], guided=guided)
            for adapter, one in zip(adapters, shown, strict=True)
        ]
        projections = [self._built[instance].projection for instance in _instances(adapters)]
        try:
            for adapter, projection, one in zip(adapters, projections, shown, strict=True):
                clip = [each.clip for each in one if each.clip is not None]
                if clip:
                    pairs = self._pairs(adapter, clip, guided=guided)
                    projection.clip_embeds = joined(pairs, self._denoiser, guided=guided)
                    projection.shortcut = adapter.shortcut
            # The call would repeat the embeddings for each prompt of a batch, as if all were shown the same.
            self._pipeline.prepare_ip_adapter_image_embeds = lambda _image, embeds, *_: embeds
            arguments = self._held[1].arguments(embeds, self._denoiser, guided=guided)
            yield {**arguments, **_mask_arguments(adapters, embeds, size)}
        finally:
            vars(self._pipeline).pop("prepare_ip_adapter_image_embeds", None)
            for projection in projections:
                if hasattr(projection, "clip_embeds"):
                    projection.clip_embeds, projection.shortcut = None, False

    @property
    def _held(self) -> tuple[AdapterFamily, IpAdapterBackend]:
        if self._backend is None:
            message = f"BUG: IP-Adapters are not applied to {type(self._pipeline).__name__}"
            raise AssertionError(message)
        return self._backend

    @property
    def _family(self) -> AdapterFamily:
        return self._held[0]

    @property
    def _denoiser(self) -> Any:
        return getattr(self._pipeline, self._family.component)

    def _pairs(
        self, adapter: ResolvedIpAdapter, pairs: Sequence[EmbeddingPair], *, guided: bool
    ) -> Sequence[EmbeddingPair]:
        if guided and any(pair.negative is None for pair in pairs):
            hint = "save [2, n, …] with the negative ones first, as `prepare_ip_adapter_image_embeds` gives it"
            raise WeightsError.of("E646", f"adapter {adapter.name}: guidance needs the negative embedding too", hint)
        return pairs

    def _fit(self, adapter: ResolvedIpAdapter) -> IpAdapterFile:
        label = f"adapter {adapter.name}"
        with at(adapter.origin):
            file = self._files.read(adapter.source.require_found(), label, allow_pickle=self._allow_pickle)
            if adapter.source.digest not in self._fitted:
                pipeline = type(self._pipeline).__name__
                check_pipeline(pipeline, type(getattr(self._pipeline, "vae", None)).__name__, label)
                check_family(file.layout, pipeline, label)
                shapes = {key: tuple(tensor.shape) for key, tensor in file.tensors.items()}
                fit_ip_adapter(file.layout, shapes, self._modules, label)
                self._fitted[adapter.source.digest] = None
        return file

    def _build(self, adapter: ResolvedIpAdapter) -> Built:
        denoiser, backend = self._denoiser, self._held[1]
        file = self._fit(adapter)
        built = build(file, self._places, backend.projection, denoiser.device, denoiser.dtype)
        count = len(file.layout.projection) + sum(map(len, file.layout.layers.values()))
        if built.landed != count:
            raise WeightsError.of("E606", f"adapter {adapter.name}: {built.landed} of {count} tensors landed")
        return built

    def _put(self, built: Sequence[Built]) -> None:
        denoiser, backend = self._denoiser, self._held[1]
        self._detach = backend.attach(denoiser, [each.projection for each in built])
        for module in (place.module for place in self._places if place.acts):
            attention = denoiser.get_submodule(module)
            self._originals[module] = attention.processor
            self._processors[module] = backend.processor(built, module)
            attention.set_processor(self._processors[module])

    def _restore(self) -> None:
        """Put back the very processors that the base came with."""
        if self._detach is None:
            return
        self._detach()
        for module, original in self._originals.items():
            attention = self._denoiser.get_submodule(module)
            del attention.processor
            attention.processor = original
        self._originals, self._processors, self._detach = {}, {}, None

    def _scale(self, adapters: Sequence[ResolvedIpAdapter]) -> None:
        scales = [self._expand(each, each.scale) for each in adapters]
        state = tuple(tuple(each[module] for module in self._processors) for each in scales)
        if state != self._scales:
            for module, made in self._processors.items():
                self._held[1].scale(made, [each[module] for each in scales])
            self._scales = state

    def _expand(self, adapter: ResolvedIpAdapter, scale: Json) -> dict[str, float]:
        label = f"adapter {adapter.name}"
        with at(adapter.origin):
            return self._expanded.get(
                digest(scale), lambda: expand_ip_scale(scale, self._places, self._modules, label=label)
            )


def active(handle: ModelHandle) -> list[ResolvedIpAdapter]:
    """The IP-Adapters of a handle that are not at scale 0 everywhere, in order."""
    adapters = [each for each in handle.adapters if isinstance(each, ResolvedIpAdapter)]
    return [each for each in adapters if not is_off(each.scale)]


def _instances(adapters: Sequence[ResolvedIpAdapter]) -> tuple[_Instance, ...]:
    digests = [adapter.source.digest for adapter in adapters]
    return tuple((digest, digests[:index].count(digest)) for index, digest in enumerate(digests))


def _mask_arguments(
    adapters: Sequence[ResolvedIpAdapter], embeds: Sequence[Sequence[EmbeddingPair]], size: tuple[int, int]
) -> dict[str, Any]:
    if not any(adapter.masks for adapter in adapters):
        return {}
    masks = []
    for adapter, pairs in zip(adapters, embeds, strict=True):
        count = pairs[0].positive.shape[1]
        if adapter.masks and len(adapter.masks) != count:
            message = f"adapter {adapter.name}: {len(adapter.masks)} masks for {count} images"
            raise WeightsError.of("E647", message, "give one mask for each image, in the same order")
        masks.append(_masks(adapter, size) if adapter.masks else None)
    return {"cross_attention_kwargs": {"ip_adapter_masks": masks}}


def _masks(adapter: ResolvedIpAdapter, size: tuple[int, int]) -> torch.Tensor:
    """[1, images, height, width] of zeros and ones, as the guide makes it with IPAdapterMaskProcessor."""
    pictures = []
    for mask in adapter.masks:
        source = mask.require_found()
        with unchanged(source):
            pictures.append(read_picture(source.path(source.files[0].name), source.address))
    masks: torch.Tensor = IPAdapterMaskProcessor().preprocess(pictures, height=size[0], width=size[1])
    return masks.reshape(1, masks.shape[0], *masks.shape[2:])
