"""Check an IP-Adapter against a base: its pipeline, and the module names and weight shapes of its denoiser."""

from __future__ import annotations

from collections.abc import Mapping

from recipe_runner.problems.problem import WeightsError
from recipe_runner.problems.wording import listed
from recipe_runner.weights.ip_adapter.families import PIPELINES, UNET, VAES, AdapterFamily, family_of_pipeline
from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout, unet_of_width
from recipe_runner.weights.ip_adapter.places import AttentionPlace
from recipe_runner.weights.modules import Modules, Shape

_OUT = {"to_out": "to_out.0"}
_SHOWN = 3


def check_pipeline(pipeline: str, vae: str, label: str) -> None:
    """Raise E649 unless IP-Adapters are supported for the diffusers class `pipeline`, with a VAE of the class `vae`.

    `vae` is empty where it is not known; `label` names the adapter in messages: `adapter look`.
    """
    if pipeline not in PIPELINES:
        hint = f"they are for {listed(PIPELINES, 'and', quote=False)}"
        raise WeightsError.of("E649", f"{label}: IP-Adapters are not supported for {pipeline}", hint)
    if vae not in ("", *VAES):
        message = f"{label}: IP-Adapters are not supported for a pipeline with the VAE {vae}"
        raise WeightsError.of("E649", message, f"they are with {listed(VAES, 'and', quote=False)}")


def check_family(layout: IpAdapterLayout, pipeline: str, label: str) -> None:
    """Raise E642 unless a file is for the family of `pipeline`, one that IP-Adapters are supported for."""
    if pipeline not in layout.family.pipelines:
        family = family_of_pipeline(pipeline)
        base = "another model" if family is None else family.title
        message = f"{label}: this {layout.name} is for {layout.made_for}, and the base is a {pipeline}"
        raise WeightsError.of("E642", message, f"use a file that was made for {base}")


def fit_ip_adapter(
    layout: IpAdapterLayout, shapes: Mapping[str, Shape], modules: Modules, label: str
) -> tuple[AttentionPlace, ...]:
    """The denoiser's attentions, when every tensor of the whole file has its place there and every place its tensors.

    `shapes` are the file's tensors, `modules` the denoiser's; `label` names the adapter in messages: `adapter look`.

    Raises:
        WeightsError: E642, with the widths or numbers that differ.
    """
    family = layout.family
    denoiser = "UNet" if family is UNET else family.component
    places = family.places(modules)
    acting = {place.number: place.module for place in places if place.acts}
    if family is UNET:
        _check_text_width(layout, acting, modules, label)
    wrong = _other_numbers(layout, acting, denoiser) or _other_sizes(layout, shapes, modules, acting)
    if wrong:
        hint = f"use the file that was made for this kind of {denoiser}"
        raise WeightsError.of("E642", f"{label}: {'; '.join(wrong[:_SHOWN])}", hint)
    _check_lora(layout, shapes, modules, {place.number: place.module for place in places}, label)
    return places


def _check_text_width(layout: IpAdapterLayout, acting: Mapping[int, str], modules: Modules, label: str) -> None:
    width = next((modules[f"{module}.to_k"][1] for module in acting.values()), 0)
    if width != layout.cross_width:
        base = unet_of_width(width)
        message = (
            f"this {layout.name} has cross-attention width {layout.cross_width} ({layout.made_for}); "
            f"the base's is {width} ({base})"
        )
        raise WeightsError.of("E642", f"{label}: {message}", f"use the file that was made for {base}")


def _other_numbers(layout: IpAdapterLayout, acting: Mapping[int, str], denoiser: str) -> list[str]:
    """Whether the file has other attentions than the denoiser."""
    differ = acting.keys() ^ layout.attentions.keys()
    if not differ:
        return []
    attention, have, want = layout.family.attention, len(layout.attentions), len(acting)
    if have == want:
        return [f"this {layout.name} numbers the {attention}s differently (number {min(differ)})"]
    return [f"this {layout.name} is for {have} {attention}s; the {denoiser} has {want}"]


def _other_sizes(
    layout: IpAdapterLayout, shapes: Mapping[str, Shape], modules: Modules, acting: Mapping[int, str]
) -> list[str]:
    """Attentions, or heads that the denoiser normalises, of another width than in the file."""
    found = []
    for number, module in acting.items():
        features = modules[f"{module}.to_k"][0]
        if features != layout.attentions[number]:
            found.append(f"{module} has {features} features and the file {layout.attentions[number]}")
        head, key = modules.get(f"{module}.norm_q"), layout.layers[number].get("norm_q.weight")
        if head is not None and key is not None and head != shapes[key]:
            found.append(f"{module} has heads of {head[0]} features and the file of {shapes[key][0]}")
    return found


def _check_lora(
    layout: IpAdapterLayout, shapes: Mapping[str, Shape], modules: Modules, by_number: Mapping[int, str], label: str
) -> None:
    for number, projection in layout.lora:
        key = f"ip_adapter.{number}.{projection}_lora"
        down, up = shapes[f"{key}.down.weight"], shapes[f"{key}.up.weight"]
        module = lora_module(by_number.get(number, ""), projection)
        weight = modules.get(module)
        if weight is None:
            raise WeightsError.of("E642", f"{label}: its LoRA has {key}, and the UNet has no attention {number}")
        if (up[0], down[1]) != weight[:2]:
            message = f"its LoRA maps {down[1]} to {up[0]} features, and {module} maps {weight[1]} to {weight[0]}"
            raise WeightsError.of("E642", f"{label}: {message}", "use the file that was made for this kind of UNet")


def lora_module(attention: str, projection: str) -> str:
    """The module that a pair of factors of the bundled LoRA changes."""
    return f"{attention}.{_OUT.get(projection, projection)}"


def check_abilities(family: AdapterFamily, *, masks: int, adapters: int, label: str) -> None:
    """Raise E656 for masks, or for several adapters at once, where bases of a family do not support them."""
    if masks and not family.masks:
        message = f"{label}: IP-Adapters for {family.title} do not support masks"
        raise WeightsError.of("E656", message, "remove `mask`; diffusers ignores it")
    if adapters > 1 and not family.several:
        message = f"{label}: {family.title} supports one IP-Adapter at a time, and another is in use"
        hint = "keep one; to compare several, make `model` of the adapter an axis of the matrix"
        raise WeightsError.of("E656", message, hint)
