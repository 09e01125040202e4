"""cloneofsimo's files: modules by number (`unet:17:up`), target classes in the metadata, learned tokens as `<s1>`.

The numbers count linear layers in the order in which the training program met them: the UNet of the diffusers of that
time (0.10: down blocks, up blocks, mid block; in a transformer block attn1, ff, attn2; of the feed-forward only its
GEGLU) and transformers' CLIP attention (k, v, q, out). Source: cloneofsimo/lora `lora_diffusion/lora.py`,
`_find_modules`, `UNET_DEFAULT_TARGET_REPLACE`, `TEXT_ENCODER_DEFAULT_TARGET_REPLACE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from recipe_runner.weights.modules import Modules, ModuleTable, Shape

_KEY = re.compile(r"(?P<component>unet|text_encoder|text_encoder_2):(?P<number>\d{1,5}):(?P<role>up|down)")
_BLOCK = re.compile(
    r"(?:(?P<direction>down_blocks|up_blocks)\.(?P<block>\d+)|mid_block)\.attentions\.(?P<attention>\d+)"
    r"\.transformer_blocks\.(?P<depth>\d+)\.(?P<part>.+)"
)
_LAYER = re.compile(r"(?:text_model\.)?encoder\.layers\.(?P<layer>\d+)\.self_attn\.(?P<part>\w+)")
_ORDERS: tuple[tuple[str, ...], ...] = (
    ("attn1", "ff", "attn2"),
    ("attn1", "attn2", "ff"),
)
_DIRECTIONS = ((0, 2, 1), (0, 1, 2))
"""Down, up, mid as modules were registered then; and in the order of the data."""
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_CLIP_ATTENTION = ("k_proj", "v_proj", "q_proj", "out_proj")


def is_indexed(shapes: Mapping[str, Shape]) -> bool:
    """Whether the file counts its modules by number."""
    return any(_KEY.fullmatch(key) for key in shapes)


def is_list(shapes: Mapping[str, Shape]) -> bool:
    """Whether the file is a pickled list, as the first versions wrote it: up and down of each module in turn."""
    return len(shapes) % 2 == 0 and bool(shapes) and list(shapes) == [str(number) for number in range(len(shapes))]


def listed_modules(
    shapes: Mapping[str, Shape], table: ModuleTable, target: str | None
) -> tuple[dict[str, tuple[str, str, str]], dict[str, str]]:
    """As `indexed_modules`, of a list: it is for `target` or, since it does not say, for the first that it fits."""
    pairs = {number: {"up": str(2 * number), "down": str(2 * number + 1)} for number in range(len(shapes) // 2)}
    components = [target] if target is not None else list(table)
    orders = {component: _fitting(shapes, pairs, component, table) for component in components}
    # One whose modules are all there before one that has more.
    for component, order in sorted(orders.items(), key=lambda item: len(item[1]) != len(pairs)):
        if not isinstance(order, str):
            return {
                key: (component, order[number], role) for number, roles in pairs.items() for role, key in roles.items()
            }, {}
    return {}, dict.fromkeys(shapes, str(next(iter(orders.values()), "the base has no modules")))


def indexed_modules(
    shapes: Mapping[str, Shape], table: ModuleTable
) -> tuple[dict[str, tuple[str, str, str]], dict[str, str]]:
    """Component, module and role of every numbered key, and a reason for every key that lands nowhere."""
    landed: dict[str, tuple[str, str, str]] = {}
    reasons: dict[str, str] = {}
    counted: dict[str, dict[int, dict[str, str]]] = {}
    for key in shapes:
        if match := _KEY.fullmatch(key):
            counted.setdefault(match["component"], {}).setdefault(int(match["number"]), {})[match["role"]] = key
    for component, pairs in counted.items():
        order = _fitting(shapes, pairs, component, table)
        for number, roles in pairs.items():
            for role, key in roles.items():
                if isinstance(order, str):
                    reasons[key] = order
                else:
                    landed[key] = (component, order[number], role)
    return landed, reasons


def _fitting(
    shapes: Mapping[str, Shape], pairs: Mapping[int, Mapping[str, str]], component: str, table: ModuleTable
) -> list[str] | str:
    """Module names by number in the first known order that fits every shape, or the reason that none does."""
    if component not in table:
        return f"the base has no {component}"
    modules = table[component]
    for order in _orders(component, modules):
        if max(pairs) < len(order) and all(
            shapes[roles["up"]][:1] + shapes[roles["down"]][1:2] == modules[order[number]][:2]
            for number, roles in pairs.items()
            if len(roles) == 2  # noqa: PLR2004 - an up and a down
        ):
            return order
    return (
        f"the file counts {max(pairs) + 1} modules of the {component} by number, and no order known here gives the "
        "base's modules those shapes"
    )


def _orders(component: str, modules: Modules) -> Iterator[list[str]]:
    if component != "unet":
        found = {(int(m["layer"]), m["part"]): name for name in modules if (m := _LAYER.fullmatch(name))}
        layers = sorted({layer for layer, _ in found})
        wanted = [(layer, part) for layer in layers for part in _CLIP_ATTENTION]
        yield [found[place] for place in wanted if place in found]
        return
    blocks: dict[tuple[int, int, int, int], dict[str, str]] = {}
    for name in modules:
        if match := _BLOCK.fullmatch(name):
            blocks.setdefault(_place(match), {})[match["part"]] = name
    for order in _ORDERS:
        parts = [
            part
            for group in order
            for part in (["ff.net.0.proj"] if group == "ff" else [f"{group}.{leaf}" for leaf in _ATTENTION])
        ]
        for with_ff in (True, False):
            chosen = [part for part in parts if with_ff or not part.startswith("ff")]
            for directions in _DIRECTIONS:
                places = [place for direction in directions for place in sorted(blocks) if place[0] == direction]
                yield [blocks[place][part] for place in places for part in chosen if part in blocks[place]]


def _place(match: re.Match[str]) -> tuple[int, int, int, int]:
    """Sorting place of a transformer block: down 0, mid 1, up 2; then block, attention, depth."""
    direction = {"down_blocks": 0, None: 1, "up_blocks": 2}[match["direction"]]
    return direction, int(match["block"] or 0), int(match["attention"]), int(match["depth"])
