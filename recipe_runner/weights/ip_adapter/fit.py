"""Does an IP-Adapter fit a UNet? Asked of the UNet's module names and weight shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout
from recipe_runner.weights.lora.family import CROSS_ATTENTION
from recipe_runner.weights.modules import Modules, Shape
from recipe_runner.weights.problems import misfit

_ATTENTION = re.compile(
    r"(?P<place>(?P<part>down_blocks|up_blocks|mid_block)(?:\.(?P<block>\d+))?\.attentions\.(?P<index>\d+)"
    r"\.transformer_blocks\.(?P<layer>\d+)\.attn(?P<kind>[12]))\.to_k"
)
_PARTS = ("down_blocks", "up_blocks", "mid_block")
"""The order in which a UNet2DConditionModel registers its parts, and IP-Adapters number its attentions."""
_OUT = {"to_out": "to_out.0"}
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class AttentionPlace:
    """One attention of a UNet: its module, its number among all, and whether it reads the text."""

    module: str
    number: int
    cross: bool


def unet_attentions(modules: Modules) -> tuple[AttentionPlace, ...]:
    """The attentions of a UNet in the order of `unet.attn_processors`, by which IP-Adapter files number them."""
    found = sorted(
        (_PARTS.index(m["part"]), int(m["block"] or 0), int(m["index"]), int(m["layer"]), int(m["kind"]), m["place"])
        for m in map(_ATTENTION.fullmatch, modules)
        if m is not None
    )
    return tuple(AttentionPlace(place, number, kind == 2) for number, (*_, kind, place) in enumerate(found))  # noqa: PLR2004 - attn2


def fit_ip_adapter(
    layout: IpAdapterLayout, shapes: Mapping[str, Shape], modules: Modules, label: str
) -> tuple[AttentionPlace, ...]:
    """The UNet's attentions, when every tensor of the whole file has its place there and every place its tensors.

    `shapes` are the file's tensors, `modules` the UNet's; `label` names the adapter in messages: `adapter look`.

    Raises:
        WeightsError: E642, with the widths or numbers that differ.
    """
    places = unet_attentions(modules)
    cross = {place.number: place for place in places if place.cross}
    width = next((modules[f"{place.module}.to_k"][1] for place in cross.values()), 0)
    if width != layout.cross_width:
        base = CROSS_ATTENTION.get(width, "a UNet of its own")
        message = (
            f"this {layout.name} has cross-attention width {layout.cross_width} ({layout.family}); "
            f"the base's is {width} ({base})"
        )
        raise misfit("E642", f"{label}: {message}", f"use the file that was made for {base}")
    if set(cross) != set(layout.attentions):
        have, want = len(layout.attentions), len(cross)
        message = f"this {layout.name} is for {have} cross-attentions; the UNet has {want}"
        if have == want:
            first = min(set(cross) ^ set(layout.attentions))
            message = f"this {layout.name} numbers the cross-attentions in another way (number {first})"
        raise misfit("E642", f"{label}: {message}", "use the file that was made for this kind of UNet")
    wrong = [
        f"{place.module} has {modules[f'{place.module}.to_k'][0]} features and the file {layout.attentions[number]}"
        for number, place in cross.items()
        if modules[f"{place.module}.to_k"][0] != layout.attentions[number]
    ]
    if wrong:
        raise misfit(
            "E642", f"{label}: {'; '.join(wrong[:_SHOWN])}", "use the file that was made for this kind of UNet"
        )
    _check_lora(layout, shapes, modules, {place.number: place.module for place in places}, label)
    return places


def _check_lora(
    layout: IpAdapterLayout, shapes: Mapping[str, Shape], modules: Modules, by_number: Mapping[int, str], label: str
) -> None:
    for number, projection in layout.lora:
        key = f"ip_adapter.{number}.{projection}_lora"
        down, up = shapes[f"{key}.down.weight"], shapes[f"{key}.up.weight"]
        module = lora_module(by_number.get(number, ""), projection)
        weight = modules.get(module)
        if weight is None:
            raise misfit("E642", f"{label}: its LoRA has {key}, and the UNet has no attention of number {number}", "")
        if (up[0], down[1]) != weight[:2]:
            message = f"its LoRA changes {down[1]} to {up[0]} features, and {module} has {weight[1]} to {weight[0]}"
            raise misfit("E642", f"{label}: {message}", "use the file that was made for this kind of UNet")


def lora_module(attention: str, projection: str) -> str:
    """The module that a factor of the bundled LoRA changes."""
    return f"{attention}.{_OUT.get(projection, projection)}"
