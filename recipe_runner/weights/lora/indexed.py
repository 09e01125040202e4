"""cloneofsimo's files: modules by number (`unet:17:up`), target classes in the metadata, learned tokens as `<s1>`.

The numbers count linear layers in the order in which the training program met them: the UNet of the diffusers of that
time (0.10: down blocks, up blocks, mid block; in a transformer block attn1, ff, attn2; of the feed-forward only its
GEGLU) and transformers' CLIP attention (k, v, q, out). Source: cloneofsimo/lora `lora_diffusion/lora.py`,
`_find_modules`, `UNET_DEFAULT_TARGET_REPLACE`, `TEXT_ENCODER_DEFAULT_TARGET_REPLACE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from recipe_runner.weights.modules import Modules, ModuleTable, Shape

_KEY = re.compile(r"(?P<component>unet|text_encoder|text_encoder_2):(?P<number>\d{1,5}):(?P<role>up|down)")
_BLOCK = re.compile(
    r"(?:(?P<direction>down_blocks|up_blocks)\.(?P<block>\d+)|mid_block)\.attentions\.(?P<attention>\d+)"
    r"\.transformer_blocks\.(?P<depth>\d+)\.(?P<part>.+)"
)
_LAYER = re.compile(r"(?:text_model\.)?encoder\.layers\.(?P<layer>\d+)\.self_attn\.(?P<part>\w+)")
_ATTN1 = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0")
_ATTN2 = ("attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0")
_FEED_FORWARD = "ff.net.0.proj"
_BLOCK_ORDERS = (
    (*_ATTN1, _FEED_FORWARD, *_ATTN2),
    (*_ATTN1, *_ATTN2),
    (*_ATTN1, *_ATTN2, _FEED_FORWARD),
)
"""The orders of the linear layers in a transformer block; some programs trained no feed-forward."""
_DOWN, _MID, _UP = range(3)
_DIRECTION = {"down_blocks": _DOWN, None: _MID, "up_blocks": _UP}
_DIRECTION_ORDERS = ((_DOWN, _UP, _MID), (_DOWN, _MID, _UP))
"""As modules were registered then; and in the order in which data passes them."""
_CLIP_ATTENTION = ("k_proj", "v_proj", "q_proj", "out_proj")

NumberedPlaces: TypeAlias = dict[str, tuple[str, str, str]]
"""Keys of the file, each with its component, module and role."""


def is_indexed(shapes: Mapping[str, Shape]) -> bool:
    """Whether the file counts its modules by number."""
    return any(_KEY.fullmatch(key) for key in shapes)


def is_list(shapes: Mapping[str, Shape]) -> bool:
    """Whether the file is a pickled list, as the first versions wrote it: up and down of each module in turn."""
    count = len(shapes)
    return count > 0 and count % 2 == 0 and list(shapes) == list(map(str, range(count)))


def listed_modules(
    shapes: Mapping[str, Shape], table: ModuleTable, target: str | None
) -> tuple[NumberedPlaces, dict[str, str]]:
    """As `indexed_modules`, of a list: it is for `target`, or without one for the first component that it fits.

    A component with as many modules as the list comes before one that has more.
    """
    pairs: dict[int, dict[str, str]] = {}
    for number in range(len(shapes) // 2):
        pairs[number] = {"up": str(2 * number), "down": str(2 * number + 1)}
    reason = ""
    larger: NumberedPlaces = {}
    for component in list(table) if target is None else [target]:
        order = _fitting(shapes, pairs, component, table)
        if isinstance(order, str):
            reason = reason or order
        elif len(order) == len(pairs):
            return _placed(component, order, pairs), {}
        elif not larger:
            larger = _placed(component, order, pairs)
    if larger:
        return larger, {}
    return {}, dict.fromkeys(shapes, reason or "the base has no modules")


def indexed_modules(shapes: Mapping[str, Shape], table: ModuleTable) -> tuple[NumberedPlaces, dict[str, str]]:
    """Component, module and role of every numbered key, and a reason for every key that matches nothing."""
    placed: NumberedPlaces = {}
    reasons: dict[str, str] = {}
    counted: dict[str, dict[int, dict[str, str]]] = {}
    for key in shapes:
        match = _KEY.fullmatch(key)
        if match is not None:
            pairs = counted.setdefault(match["component"], {})
            pairs.setdefault(int(match["number"]), {})[match["role"]] = key
    for component, pairs in counted.items():
        order = _fitting(shapes, pairs, component, table)
        if not isinstance(order, str):
            placed.update(_placed(component, order, pairs))
            continue
        for roles in pairs.values():
            reasons.update(dict.fromkeys(roles.values(), order))
    return placed, reasons


def _placed(component: str, order: Sequence[str], pairs: Mapping[int, Mapping[str, str]]) -> NumberedPlaces:
    placed: NumberedPlaces = {}
    for number, roles in pairs.items():
        for role, key in roles.items():
            placed[key] = (component, order[number], role)
    return placed


def _fitting(
    shapes: Mapping[str, Shape], pairs: Mapping[int, Mapping[str, str]], component: str, table: ModuleTable
) -> list[str] | str:
    """Module names by number in the first known order that fits every shape, or the reason that none does."""
    if component not in table:
        return f"the base has no {component}"
    modules = table[component]
    made: dict[int, Shape] = {}
    for number, roles in pairs.items():
        if "up" in roles and "down" in roles:
            made[number] = shapes[roles["up"]][:1] + shapes[roles["down"]][1:2]
    for order in _orders(component, modules):
        enough = max(pairs) < len(order)
        if enough and all(shape == modules[order[number]][:2] for number, shape in made.items()):
            return order
    return (
        f"the file counts {max(pairs) + 1} modules of the {component} by number, and no known order gives the "
        "base's modules those shapes"
    )


def _orders(component: str, modules: Modules) -> Iterator[list[str]]:
    """The orders in which training programs may have met the modules that they trained."""
    if component != "unet":
        yield _text_encoder_order(modules)
        return
    blocks: dict[tuple[int, int, int, int], dict[str, str]] = {}
    for name in modules:
        match = _BLOCK.fullmatch(name)
        if match is not None:
            blocks.setdefault(_place(match), {})[match["part"]] = name
    for parts in _BLOCK_ORDERS:
        for directions in _DIRECTION_ORDERS:
            order: list[str] = []
            for place in sorted(blocks, key=lambda place: (directions.index(place[0]), place)):
                block = blocks[place]
                order += [block[part] for part in parts if part in block]
            yield order


def _text_encoder_order(modules: Modules) -> list[str]:
    found: dict[tuple[int, int], str] = {}
    for name in modules:
        match = _LAYER.fullmatch(name)
        if match is not None and match["part"] in _CLIP_ATTENTION:
            found[int(match["layer"]), _CLIP_ATTENTION.index(match["part"])] = name
    return [found[place] for place in sorted(found)]


def _place(match: re.Match[str]) -> tuple[int, int, int, int]:
    """Sorting place of a transformer block: direction, block, attention, depth."""
    direction = _DIRECTION[match["direction"]]
    return direction, int(match["block"] or 0), int(match["attention"]), int(match["depth"])
