"""The IP-Adapters of a pipeline, and the steps from its current state to the state that a handle describes."""

from __future__ import annotations

from collections import Counter
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
from recipe_runner.runtime.load.tensors import shapes_of
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
"""IP-Adapters kept on the device at once; the least recently used leave first."""
MOST_EXPANDED = 256
"""Scales expanded over the attentions, kept so that a sweep expands each once."""

_Instance = tuple[str, int]
"""A file's digest, and how many adapters before have the same file: each adapter has its own projection."""


class ImagePrompts:
    """The IP-Adapters of one loaded pipeline.

    Several adapters share one state, as diffusers loads them: each attention gets a processor with the layers of all,
    in the handle's order. An adapter at scale 0 everywhere is not part of it. The backend does what depends on the
    pipeline's family.
    """

    def __init__(self, pipeline: Any, modules: ModuleTable, files: IpAdapterFiles, *, allow_pickle: bool) -> None:
        """Manage `pipeline`, which has no adapters yet; `modules` are those of its components."""
        self._pipeline = pipeline
        self._files = files
        self._allow_pickle = allow_pickle
        self._backend = backend_of(pipeline)
        self._modules: Modules = {}
        self._places: tuple[AttentionPlace, ...] = ()
        if self._backend is not None:
            family, _ = self._backend
            self._modules = modules.get(family.component, {})
            self._places = family.places(self._modules)
        self._fitted: dict[str, None] = {}
        self._built: Lru[_Instance, Built] = Lru(MOST_BUILT)
        self._expanded: Lru[str, dict[str, float]] = Lru(MOST_EXPANDED)
        self._attached: tuple[_Instance, ...] = ()
        self._scales: dict[str, tuple[float, ...]] = {}
        self._processors: dict[str, Any] = {}
        self._originals: dict[str, Any] = {}
        self._detach: Callable[[], None] | None = None

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring the denoiser to the state of `handle`, if `parts` names it.

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
        built = []
        for adapter, instance in zip(wanted, instances, strict=True):
            built.append(self._built.hold(instance, partial(self._build, adapter)))
        if instances != self._attached:
            self._restore()
            if built:
                self._put(built)
            self._attached, self._scales = instances, {}
        self._scale(wanted)
        self._built.trim(len(instances))

    def tensor_counts(self, adapter: ResolvedAdapter) -> Mapping[str, tuple[int, int]]:
        """By component: the applied tensors of the adapter's file, and all that it has; without a bundled LoRA."""
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
        """Arguments of the pipeline's call for a batch. `images` are, for each member, the images for each adapter.

        `size` is height and width in pixels. While the block runs, FaceID Plus's projections hold the faces' hidden
        states.
        """
        adapters = active(handle)
        for member in images:
            if len(member) != len(adapters):
                message = f"BUG: {len(member)} image prompts for {len(adapters)} IP-Adapters"
                raise AssertionError(message)
        if not adapters:
            yield {}
            return
        by_adapter = list(zip(*images, strict=True))
        embeds = []
        for adapter, shown in zip(adapters, by_adapter, strict=True):
            embeds.append(_guidable(adapter, [each.embeds for each in shown], guided=guided))
        projections = [self._built[instance].projection for instance in _instances(adapters)]
        try:
            for adapter, projection, shown in zip(adapters, projections, by_adapter, strict=True):
                self._show_faces(adapter, projection, shown, guided=guided)
            # The call would repeat the embeddings for each prompt of a batch, as if every image had the same ones.
            self._pipeline.prepare_ip_adapter_image_embeds = lambda _image, embeds, *_: embeds
            arguments = self._held[1].arguments(embeds, self._denoiser, guided=guided)
            yield {**arguments, **_mask_arguments(adapters, embeds, size)}
        finally:
            vars(self._pipeline).pop("prepare_ip_adapter_image_embeds", None)
            for projection in projections:
                if hasattr(projection, "clip_embeds"):
                    projection.clip_embeds, projection.shortcut = None, False

    def _show_faces(
        self, adapter: ResolvedIpAdapter, projection: Any, shown: Sequence[ImageConditioning], *, guided: bool
    ) -> None:
        """Give FaceID Plus's projection its second input; other adapters have none."""
        clip = [each.clip for each in shown if each.clip is not None]
        if clip:
            pairs = _guidable(adapter, clip, guided=guided)
            projection.clip_embeds = joined(pairs, self._denoiser, guided=guided)
            projection.shortcut = adapter.shortcut

    @property
    def _held(self) -> tuple[AdapterFamily, IpAdapterBackend]:
        if self._backend is None:
            message = f"BUG: {type(self._pipeline).__name__} has no backend for IP-Adapters"
            raise AssertionError(message)
        return self._backend

    @property
    def _family(self) -> AdapterFamily:
        return self._held[0]

    @property
    def _denoiser(self) -> Any:
        return getattr(self._pipeline, self._family.component)

    def _fit(self, adapter: ResolvedIpAdapter) -> IpAdapterFile:
        label = f"adapter {adapter.name}"
        with at(adapter.origin):
            file = self._files.read(adapter.source.require_found(), label, allow_pickle=self._allow_pickle)
            if adapter.source.digest not in self._fitted:
                pipeline = type(self._pipeline).__name__
                check_pipeline(pipeline, type(getattr(self._pipeline, "vae", None)).__name__, label)
                check_family(file.layout, pipeline, label)
                fit_ip_adapter(file.layout, shapes_of(file.tensors), self._modules, label)
                self._fitted[adapter.source.digest] = None
        return file

    def _build(self, adapter: ResolvedIpAdapter) -> Built:
        denoiser, backend = self._denoiser, self._held[1]
        file = self._fit(adapter)
        built = build(file, self._places, backend.projection, denoiser.device, denoiser.dtype)
        count = len(file.layout.projection) + sum(map(len, file.layout.layers.values()))
        if built.applied != count:
            raise WeightsError.of("E606", f"adapter {adapter.name}: {built.applied} of {count} tensors were applied")
        return built

    def _put(self, built: Sequence[Built]) -> None:
        denoiser, backend = self._denoiser, self._held[1]
        self._detach = backend.attach(denoiser, [each.projection for each in built])
        for place in self._places:
            if place.acts:
                module = place.module
                attention = denoiser.get_submodule(module)
                self._originals[module] = attention.processor
                self._processors[module] = backend.processor(built, module)
                attention.set_processor(self._processors[module])

    def _restore(self) -> None:
        """Restore the processors of the base, the same objects."""
        if self._detach is None:
            return
        self._detach()
        for module, original in self._originals.items():
            attention = self._denoiser.get_submodule(module)
            del attention.processor
            attention.processor = original
        self._originals, self._processors, self._detach = {}, {}, None

    def _scale(self, adapters: Sequence[ResolvedIpAdapter]) -> None:
        scales = [self._expand(adapter, adapter.scale) for adapter in adapters]
        by_module = {}
        for module in self._processors:
            by_module[module] = tuple(scale[module] for scale in scales)
        if by_module != self._scales:
            for module, processor in self._processors.items():
                self._held[1].scale(processor, by_module[module])
            self._scales = by_module

    def _expand(self, adapter: ResolvedIpAdapter, scale: Json) -> dict[str, float]:
        label = f"adapter {adapter.name}"
        with at(adapter.origin):
            return self._expanded.get(
                digest(scale), lambda: expand_ip_scale(scale, self._places, self._modules, label=label)
            )


def _guidable(adapter: ResolvedIpAdapter, pairs: Sequence[EmbeddingPair], *, guided: bool) -> Sequence[EmbeddingPair]:
    """These pairs, each of which has the negative embedding that guidance needs."""
    for pair in pairs:
        if guided and pair.negative is None:
            raise WeightsError.of(
                "E646",
                f"adapter {adapter.name}: guidance needs the negative embedding too",
                "save [2n, …] with the negative embeddings first, as `prepare_ip_adapter_image_embeds` returns it",
            )
    return pairs


def active(handle: ModelHandle) -> list[ResolvedIpAdapter]:
    """The IP-Adapters of a handle that are not at scale 0 everywhere, in order."""
    adapters = handle.adapters
    return [each for each in adapters if isinstance(each, ResolvedIpAdapter) and not is_off(each.scale)]


def _instances(adapters: Sequence[ResolvedIpAdapter]) -> tuple[_Instance, ...]:
    counts: Counter[str] = Counter()
    found = []
    for adapter in adapters:
        found.append((adapter.source.digest, counts[adapter.source.digest]))
        counts[adapter.source.digest] += 1
    return tuple(found)


def _mask_arguments(
    adapters: Sequence[ResolvedIpAdapter], embeds: Sequence[Sequence[EmbeddingPair]], size: tuple[int, int]
) -> dict[str, Any]:
    masks = [_masks(adapter, pairs, size) for adapter, pairs in zip(adapters, embeds, strict=True)]
    given = [mask for mask in masks if mask is not None]
    return {"cross_attention_kwargs": {"ip_adapter_masks": masks}} if given else {}


def _masks(adapter: ResolvedIpAdapter, pairs: Sequence[EmbeddingPair], size: tuple[int, int]) -> torch.Tensor | None:
    """[1, images, height, width] of zeros and ones, as diffusers' guide makes it with IPAdapterMaskProcessor."""
    if not adapter.masks:
        return None
    count = pairs[0].positive.shape[1]
    if len(adapter.masks) != count:
        raise WeightsError.of(
            "E647",
            f"adapter {adapter.name}: {len(adapter.masks)} masks for {count} images",
            "give one mask for each image, in the same order",
        )
    images = []
    for mask in adapter.masks:
        source = mask.require_found()
        with unchanged(source):
            images.append(read_picture(source.path(source.files[0].name), source.address))
    masks: torch.Tensor = IPAdapterMaskProcessor().preprocess(images, height=size[0], width=size[1])
    return masks.reshape(1, masks.shape[0], *masks.shape[2:])
