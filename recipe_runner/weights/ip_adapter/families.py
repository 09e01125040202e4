"""What differs between the families of denoisers that IP-Adapters are made for: one row for each.

`recipe_runner.runtime.ip_adapter.families` makes each family's modules and puts them in their places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from recipe_runner.pipelines.family import FLUX1
from recipe_runner.pipelines.family import SD3 as MODEL_SD3
from recipe_runner.weights.ip_adapter.places import AttentionPlace, joint_attentions, unet_attentions
from recipe_runner.weights.ip_adapter.projection import flux_sizes, rows, unet_sizes
from recipe_runner.weights.ip_adapter.sizes import HEAD, Sizes, TensorRow
from recipe_runner.weights.ip_adapter.time_projection import time_rows, time_sizes
from recipe_runner.weights.ip_adapter.variants import FLUX as FLUX_ADAPTER
from recipe_runner.weights.ip_adapter.variants import SD3 as SD3_ADAPTER
from recipe_runner.weights.modules import Modules, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFamily:
    """A family of denoisers, and how IP-Adapters for it are laid out.

    Attributes:
        name: a short name.
        title: its name in messages: `Flux`.
        model: the family of models (`recipe_runner.pipelines.family`); empty where the width of the text decides.
        pipelines: the diffusers classes whose denoiser it is.
        component: the denoiser's name in them.
        attention: the name of an attention where IP-Adapters act.
        mark: matches a key of every file of this family; None for the family of files without a mark.
        sizes: the sizes of an image projection from its tensors, None for an unknown kind.
        rows: the tensors of an image projection of these sizes.
        parameters: the tensors of one attention, from the width of its keys, the sizes, and the file's own of them.
        places: the attentions of a denoiser by which the files number them.
        masks: whether masks limit where an image acts.
        several: whether several IP-Adapters act at once.
    """

    name: str
    title: str
    model: str
    pipelines: tuple[str, ...]
    component: str
    attention: str
    mark: re.Pattern[str] | None
    sizes: Callable[[Mapping[str, Shape]], Sizes | None]
    rows: Callable[[Sizes], Iterator[TensorRow]]
    parameters: Callable[[int, Sizes, Mapping[str, Shape]], dict[str, Shape]]
    places: Callable[[Modules], tuple[AttentionPlace, ...]]
    masks: bool
    several: bool


def _weights(width: int, sizes: Sizes, _found: Mapping[str, Shape]) -> dict[str, Shape]:
    return dict.fromkeys(("to_k_ip.weight", "to_v_ip.weight"), (width, sizes.cross_width))


def _weights_and_biases(width: int, sizes: Sizes, found: Mapping[str, Shape]) -> dict[str, Shape]:
    return _weights(width, sizes, found) | dict.fromkeys(("to_k_ip.bias", "to_v_ip.bias"), (width,))


def _normed(width: int, sizes: Sizes, found: Mapping[str, Shape]) -> dict[str, Shape]:
    read = sizes.cross_width
    head = next(iter(found.get("norm_q.weight", ())), HEAD)
    return {
        "norm_ip.linear.weight": (2 * read, sizes.resampler.width if sizes.resampler else 0),
        "norm_ip.linear.bias": (2 * read,),
        **_weights(width, sizes, found),
        **dict.fromkeys(("norm_q.weight", "norm_k.weight", "norm_ip_k.weight"), (head,)),
    }


UNET = AdapterFamily(
    name="unet",
    title="Stable Diffusion 1, 2 and SDXL",
    model="",
    pipelines=("StableDiffusionPipeline", "StableDiffusionXLPipeline"),
    component="unet",
    attention="cross-attention",
    mark=None,
    sizes=unet_sizes,
    rows=rows,
    parameters=_weights,
    places=unet_attentions,
    masks=True,
    several=True,
)
FLUX = AdapterFamily(
    name=FLUX_ADAPTER,
    title="Flux",
    model=FLUX1.name,
    pipelines=("FluxPipeline",),
    component="transformer",
    attention="attention",
    mark=re.compile(r"ip_adapter_double_stream_[kv]_proj|^ip_adapter_proj_model\.|^ip_adapter\.\d+\.to_[kv]_ip\.bias$"),
    sizes=flux_sizes,
    rows=rows,
    parameters=_weights_and_biases,
    places=joint_attentions,
    masks=False,
    several=True,
)
SD3 = AdapterFamily(
    name=SD3_ADAPTER,
    title="Stable Diffusion 3",
    model=MODEL_SD3.name,
    pipelines=("StableDiffusion3Pipeline",),
    component="transformer",
    attention="attention",
    mark=re.compile(
        r"^ip_adapter\.\d+\.norm_(?:q|k|ip|ip_k|ip_q)\.|^image_proj\.(?:time_embedding\.|layers\.\d+\.adaln)"
    ),
    sizes=time_sizes,
    rows=time_rows,
    parameters=_normed,
    places=joint_attentions,
    masks=False,
    several=False,
)
FAMILIES = (UNET, FLUX, SD3)
PIPELINES = (*UNET.pipelines, *FLUX.pipelines, *SD3.pipelines)
"""Every pipeline that IP-Adapters are supported for."""
VAES = ("AutoencoderKL", "AutoencoderTiny")
"""The classes of VAE for which the steps of these pipelines are known."""


def family_of_file(keys: Iterable[str]) -> AdapterFamily:
    """The family that a file with these tensors is for."""
    keys = tuple(keys)
    for family in FAMILIES:
        if family.mark is not None and any(map(family.mark.search, keys)):
            return family
    return UNET


def family_of_pipeline(pipeline: str) -> AdapterFamily | None:
    """The family of a diffusers class; None where IP-Adapters are not supported for it."""
    return next((family for family in FAMILIES if pipeline in family.pipelines), None)
