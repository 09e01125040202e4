"""Does an IP-Adapter fit a base? Asked of its pipeline, and its denoiser's module names and weight shapes."""

from __future__ import annotations

from collections.abc import Mapping

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.ip_adapter.families import FAMILIES, PIPELINES, UNET, VAES, AdapterFamily
from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout
from recipe_runner.weights.ip_adapter.places import AttentionPlace
from recipe_runner.weights.lora.family import CROSS_ATTENTION
from recipe_runner.weights.modules import Modules, Shape

_OUT = {"to_out": "to_out.0"}
_SHOWN = 3


def check_pipeline(pipeline: str, vae: str, label: str) -> None:
    """Raise E649 unless IP-Adapters are applied to the diffusers class `pipeline`, with a VAE of the class `vae`.

    `vae` is empty where it is not known; `label` names the adapter in messages: `adapter look`.
    """
    if pipeline not in PIPELINES:
        hint = f"they are to {', '.join(PIPELINES[:-1])} and {PIPELINES[-1]}"
        raise WeightsError.of("E649", f"{label}: IP-Adapters are not applied to {pipeline}", hint)
    if vae not in ("", *VAES):
        message = f"{label}: IP-Adapters are not applied to a pipeline with the VAE {vae}"
        raise WeightsError.of("E649", message, f"they are with {' and '.join(VAES)}")


def check_family(layout: IpAdapterLayout, pipeline: str, label: str) -> None:
    """Raise E642 unless a file is for the family of `pipeline`, one that IP-Adapters are applied to."""
    if pipeline not in layout.family.pipelines:
        base = next((family.title for family in FAMILIES if pipeline in family.pipelines), "another model")
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
    acting = {place.number: place for place in places if place.acts}
    if family is UNET:
        _check_text_width(layout, acting, modules, label)
    same_kind = f"use the file that was made for this kind of {denoiser}"
    if set(acting) != set(layout.attentions):
        have, want = len(layout.attentions), len(acting)
        message = f"this {layout.name} is for {have} {family.attention}s; the {denoiser} has {want}"
        if have == want:
            first = min(set(acting) ^ set(layout.attentions))
            message = f"this {layout.name} numbers the {family.attention}s in another way (number {first})"
        raise WeightsError.of("E642", f"{label}: {message}", same_kind)
    wrong = [
        f"{place.module} has {modules[f'{place.module}.to_k'][0]} features and the file {layout.attentions[number]}"
        for number, place in acting.items()
        if modules[f"{place.module}.to_k"][0] != layout.attentions[number]
    ]
    wrong += list(_heads(layout, shapes, modules, acting))
    if wrong:
        raise WeightsError.of("E642", f"{label}: {'; '.join(wrong[:_SHOWN])}", same_kind)
    _check_lora(layout, shapes, modules, {place.number: place.module for place in places}, label)
    return places


def _check_text_width(
    layout: IpAdapterLayout, acting: Mapping[int, AttentionPlace], modules: Modules, label: str
) -> None:
    width = next((modules[f"{place.module}.to_k"][1] for place in acting.values()), 0)
    if width != layout.cross_width:
        base = CROSS_ATTENTION.get(width, "a UNet of its own")
        message = (
            f"this {layout.name} has cross-attention width {layout.cross_width} ({layout.made_for}); "
            f"the base's is {width} ({base})"
        )
        raise WeightsError.of("E642", f"{label}: {message}", f"use the file that was made for {base}")


def _heads(
    layout: IpAdapterLayout, shapes: Mapping[str, Shape], modules: Modules, acting: Mapping[int, AttentionPlace]
) -> list[str]:
    """Where a file that normalises each head has heads of another width than the base, whose own norms show its."""
    found = []
    for number, place in acting.items():
        own, key = modules.get(f"{place.module}.norm_q"), layout.layers[number].get("norm_q.weight")
        if own is not None and key is not None and own != shapes[key]:
            found.append(f"{place.module} has heads of {own[0]} features and the file of {shapes[key][0]}")
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
            raise WeightsError.of(
                "E642", f"{label}: its LoRA has {key}, and the UNet has no attention of number {number}", ""
            )
        if (up[0], down[1]) != weight[:2]:
            message = f"its LoRA changes {down[1]} to {up[0]} features, and {module} has {weight[1]} to {weight[0]}"
            raise WeightsError.of("E642", f"{label}: {message}", "use the file that was made for this kind of UNet")


def lora_module(attention: str, projection: str) -> str:
    """The module that a factor of the bundled LoRA changes."""
    return f"{attention}.{_OUT.get(projection, projection)}"


def check_abilities(family: AdapterFamily, *, masks: int, adapters: int, label: str) -> None:
    """Raise E656 where so many masks, or adapters at once, are more than what bases of a family take."""
    if masks and not family.masks:
        message = f"{label}: masks do not limit where an IP-Adapter for {family.title} acts"
        raise WeightsError.of("E656", message, "remove `mask`; diffusers ignores it")
    if adapters > 1 and not family.several:
        message = f"{label}: {family.title} takes one IP-Adapter at a time, and another acts already"
        raise WeightsError.of(
            "E656", message, "keep one; to compare several, make `model` of the adapter an axis of the matrix"
        )
