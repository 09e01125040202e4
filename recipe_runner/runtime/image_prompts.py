"""The IP-Adapters that a pipeline holds, and the steps from the state it is in to the state a handle asks for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.image_processor import IPAdapterMaskProcessor
from diffusers.models.embeddings import MultiIPAdapterImageProjection

from recipe_runner.adapters.ip_adapter import PIPELINES, VAES
from recipe_runner.canonical import Json, digest
from recipe_runner.handle import AdapterModel, IpAdapterModel, ModelHandle
from recipe_runner.placed import placed
from recipe_runner.runtime.encode_image import ImageConditioning, Pair
from recipe_runner.runtime.family import family_of
from recipe_runner.runtime.ip_adapter_file import IpAdapterFile, IpAdapterFiles
from recipe_runner.runtime.ip_projections import Built, build, processor
from recipe_runner.runtime.problems import misfit
from recipe_runner.runtime.watch import Watch
from recipe_runner.sources.pictures import read_picture
from recipe_runner.weights.ip_adapter import expand_ip_scale, fit_ip_adapter, is_off, unet_attentions
from recipe_runner.weights.modules import Modules

MOST_BUILT = 4
"""IP-Adapters kept on the device at once; those unused longest leave first."""
MOST_EXPANDED = 256
"""Scales that were spread over the attentions, kept so that a sweep does it once."""

_Scales = tuple[tuple[float, ...], ...]
_Instance = tuple[str, int]
"""The contents of a file, and how many adapters before have the same: each has a projection of its own."""


class ImagePrompts:
    """The IP-Adapters of one loaded pipeline. It begins with none.

    Several are one joint state, as diffusers loads them: each cross-attention gets a processor with the layers of all,
    in the handle's order. An adapter at scale 0 everywhere is not part of it.
    """

    def __init__(self, pipeline: Any, modules: Modules, files: IpAdapterFiles, *, allow_pickle: bool) -> None:
        """Take over `pipeline`, whose components are as their files left them; `modules` are its UNet's."""
        self._pipeline = pipeline
        self._modules = modules
        self._files = files
        self._allow_pickle = allow_pickle
        self._places = unet_attentions(modules)
        self._fitted: dict[str, None] = {}
        self._built: OrderedDict[_Instance, Built] = OrderedDict()
        self._expanded: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._standing: tuple[_Instance, ...] = ()
        self._scales: _Scales = ()
        self._processors: dict[str, Any] = {}
        self._originals: dict[str, Any] = {}

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring the UNet to the state of `handle`, where `parts` names it.

        Raises:
            WeightsError: E4xx, E606 to E612, E640 to E642, E649 when an adapter cannot be applied whole.
        """
        wanted = active(handle)
        for adapter in wanted:
            self._fit(adapter)
        if "unet" not in parts:
            return
        instances = _instances(wanted)
        built = [self._build(adapter, instance) for adapter, instance in zip(wanted, instances, strict=True)]
        if instances != self._standing:
            self._restore()
            if built:
                self._put(built)
            self._standing, self._scales = instances, ()
        self._scale(handle, wanted)
        while len(self._built) > max(MOST_BUILT, len(instances)):
            self._built.popitem(last=False)

    def landing(self, adapter: AdapterModel) -> Mapping[str, tuple[int, int]]:
        """By component: tensors of the adapter's file that landed, and those that there are; a LoRA's are not here."""
        if not isinstance(adapter, IpAdapterModel):
            return {}
        layout = self._fit(adapter).layout
        projection, layers = len(layout.projection), 2 * len(layout.attentions)
        return {"unet": (layers, layers), "image_proj": (projection, projection)}

    def has_lora(self, adapter: IpAdapterModel) -> bool:
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
        unet = self._pipeline.unet
        embeds = []
        projections = [self._built[instance].projection for instance in _instances(adapters)]
        try:
            for index, (adapter, projection) in enumerate(zip(adapters, projections, strict=True)):
                shown = [member[index] for member in images]
                embeds.append(_batch(adapter, [each.embeds for each in shown], unet, guided=guided))
                clip = [each.clip for each in shown if each.clip is not None]
                if clip:
                    projection.clip_embeds = _batch(adapter, clip, unet, guided=guided)
                    projection.shortcut = adapter.shortcut
            # The call would repeat the embeddings for each prompt of a batch, as if all were shown the same.
            self._pipeline.prepare_ip_adapter_image_embeds = lambda *_: embeds
            yield {"ip_adapter_image_embeds": embeds, **_mask_arguments(adapters, embeds, size)}
        finally:
            vars(self._pipeline).pop("prepare_ip_adapter_image_embeds", None)
            for projection in projections:
                if hasattr(projection, "clip_embeds"):
                    projection.clip_embeds, projection.shortcut = None, False

    def _fit(self, adapter: IpAdapterModel) -> IpAdapterFile:
        label = f"adapter {adapter.name}"
        with placed(adapter.origin):
            file = self._files.read(adapter.source, label, allow_pickle=self._allow_pickle)
            if adapter.source.digest not in self._fitted:
                if family_of(self._pipeline) not in ("sd", "sdxl"):
                    whole = (
                        f"{type(self._pipeline).__name__} with {type(getattr(self._pipeline, 'vae', None)).__name__}"
                    )
                    hint = f"they are to {' and '.join(PIPELINES)}, with {' and '.join(VAES)}"
                    raise misfit("E649", f"{label}: IP-Adapters are not applied to {whole}", hint)
                shapes = {key: tuple(tensor.shape) for key, tensor in file.tensors.items()}
                fit_ip_adapter(file.layout, shapes, self._modules, label)
                self._fitted[adapter.source.digest] = None
        return file

    def _build(self, adapter: IpAdapterModel, instance: _Instance) -> Built:
        if instance not in self._built:
            unet = self._pipeline.unet
            file = self._fit(adapter)
            built = build(file, self._places, unet.device, unet.dtype)
            count = len(file.layout.projection) + 2 * len(file.layout.attentions)
            if built.landed != count:
                raise misfit("E606", f"adapter {adapter.name}: {built.landed} of {count} tensors landed")
            self._built[instance] = built
        self._built.move_to_end(instance)
        return self._built[instance]

    def _put(self, built: Sequence[Built]) -> None:
        unet = self._pipeline.unet
        if unet.encoder_hid_proj is not None:
            message = f"the UNet has a projection of its own ({unet.config.encoder_hid_dim_type})"
            raise misfit("E642", message, "IP-Adapters are for UNets that read text alone")
        for module in (place.module for place in self._places if place.cross):
            attention = unet.get_submodule(module)
            self._originals[module] = attention.processor
            self._processors[module] = processor(built, module)
            attention.set_processor(self._processors[module])
        self._originals[""] = unet.config.encoder_hid_dim_type
        unet.encoder_hid_proj = MultiIPAdapterImageProjection([each.projection for each in built])
        unet.config.encoder_hid_dim_type = "ip_image_proj"

    def _restore(self) -> None:
        """Put back the very processors that the base came with."""
        if not self._processors:
            return
        unet = self._pipeline.unet
        unet.config.encoder_hid_dim_type = self._originals.pop("")
        # Assigning None to a module's name would leave the name among the modules.
        del unet.encoder_hid_proj
        unet.encoder_hid_proj = None
        for module, original in self._originals.items():
            attention = unet.get_submodule(module)
            del attention.processor
            attention.processor = original
        self._originals, self._processors = {}, {}

    def _scale(self, handle: ModelHandle, adapters: Sequence[IpAdapterModel]) -> None:
        scales = [self._expand(each, handle.scale(each.name)) for each in adapters]
        state = tuple(tuple(each[module] for module in self._processors) for each in scales)
        if state != self._scales:
            for module, made in self._processors.items():
                made.scale = [each[module] for each in scales]
            self._scales = state

    def _expand(self, adapter: IpAdapterModel, scale: Json) -> dict[str, float]:
        said = digest(scale)
        if said not in self._expanded:
            with placed(adapter.origin):
                label = f"adapter {adapter.name}"
                self._expanded[said] = expand_ip_scale(scale, self._places, self._modules, label=label)
            while len(self._expanded) > MOST_EXPANDED:
                self._expanded.popitem(last=False)
        return self._expanded[said]


def active(handle: ModelHandle) -> list[IpAdapterModel]:
    """The IP-Adapters of a handle that are not at scale 0 everywhere, in order."""
    adapters = [each for each in handle.adapters if isinstance(each, IpAdapterModel)]
    return [each for each in adapters if not is_off(handle.scale(each.name))]


def _instances(adapters: Sequence[IpAdapterModel]) -> tuple[_Instance, ...]:
    digests = [adapter.source.digest for adapter in adapters]
    return tuple((digest, digests[:index].count(digest)) for index, digest in enumerate(digests))


def _batch(adapter: IpAdapterModel, pairs: Sequence[Pair], unet: Any, *, guided: bool) -> torch.Tensor:
    """[n, …] of a batch, or [2n, …] with the negative ones first."""
    parts = [pair.positive for pair in pairs]
    if guided:
        negatives = [pair.negative for pair in pairs if pair.negative is not None]
        if len(negatives) != len(pairs):
            hint = "save [2, n, …] with the negative ones first, as `prepare_ip_adapter_image_embeds` gives it"
            raise misfit("E646", f"adapter {adapter.name}: guidance needs the negative embedding too", hint)
        parts = [*negatives, *parts]
    return torch.cat([part.to(unet.device, unet.dtype) for part in parts])


def _mask_arguments(
    adapters: Sequence[IpAdapterModel], embeds: Sequence[torch.Tensor], size: tuple[int, int]
) -> dict[str, Any]:
    if not any(adapter.masks for adapter in adapters):
        return {}
    masks = []
    for adapter, each in zip(adapters, embeds, strict=True):
        if adapter.masks and len(adapter.masks) != each.shape[1]:
            message = f"adapter {adapter.name}: {len(adapter.masks)} masks for {each.shape[1]} images"
            raise misfit("E647", message, "give one mask for each image, in the same order")
        masks.append(_masks(adapter, size) if adapter.masks else None)
    return {"cross_attention_kwargs": {"ip_adapter_masks": masks}}


def _masks(adapter: IpAdapterModel, size: tuple[int, int]) -> torch.Tensor:
    """[1, images, height, width] of zeros and ones, as the guide makes it with IPAdapterMaskProcessor."""
    pictures = []
    for source in adapter.masks:
        watch = Watch.begin(source)
        pictures.append(read_picture(source.path(source.files[0].name), source.address))
        watch.check()
    masks: torch.Tensor = IPAdapterMaskProcessor().preprocess(pictures, height=size[0], width=size[1])
    return masks.reshape(1, masks.shape[0], *masks.shape[2:])
