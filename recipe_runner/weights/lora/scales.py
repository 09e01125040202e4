"""One scale for every module of an adapter, from a recipe's number or mapping of components and blocks.

The meaning is that of diffusers' `set_adapters` (`loaders/unet_loader_utils.py`, `_maybe_expand_lora_scales`;
`utils/peft_utils.py`, `set_weights_and_activate_adapters`): what is left out keeps 1.0; a UNet block's scale is one
number for each attention (transformer) in it; a resnet or sampler takes that of the attention with its own index;
blocks without attention, the resnets of the middle block and modules outside the blocks keep 1.0. Unlike there, a key
that names nothing is an error, and so is a list whose length is not the block's number of attentions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from recipe_runner.canonical import Json
from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.lora.layout import LoraLayout, ModulePlace
from recipe_runner.weights.modules import Modules, ModuleTable

DIRECTIONS = {"down": "down_blocks", "mid": "mid_block", "up": "up_blocks"}
_IN_BLOCK = re.compile(r"(down_blocks|up_blocks)\.(\d+)\.(?:attentions|resnets|downsamplers|upsamplers)\.(\d+)\.")
_IN_LIST = re.compile(r"(\w+)\.(\d+)\.")
_BLOCK_KEY = re.compile(r"block_(0|[1-9]\d{0,3})")


@dataclass(frozen=True, slots=True)
class _Adapter:
    """What scale keys are checked against: the adapter's modules in one component, and that component."""

    label: str
    component: str
    own: Sequence[str]
    modules: Modules
    place: str

    def refuse(self, code: str, path: str, message: str, hint: str = "") -> WeightsError:
        return _refused(code, self.label, f"{self.place}{path}", message, hint)


def _refused(code: str, label: str, place: str, message: str, hint: str) -> WeightsError:
    return WeightsError.of(code, f"{label}: {place}: {message}", hint).on(*place.split("."))


def expand_scales(scale: Json, layout: LoraLayout, modules: ModuleTable, *, label: str) -> dict[ModulePlace, float]:
    """The scale of every module of `layout`. `label` names the adapter in messages: `adapter style`.

    Raises:
        WeightsError: E611 a key that names nothing of the base, E612 a list of the wrong length, E613 a key that names
            nothing of the adapter.
    """
    own: dict[str, list[str]] = {}
    for module in layout.modules:
        own.setdefault(module.component, []).append(module.module)
    expanded: dict[ModulePlace, float] = {}
    if not isinstance(scale, Mapping):
        number = scale_number(scale)
        for module in layout.modules:
            expanded[module.component, module.module] = number
        return expanded
    for component in scale:
        if component not in modules:
            hint = f"it has {', '.join(modules)}"
            raise _refused("E611", label, f"scale.{component}", f"the base has no {component}", hint)
        if component not in own:
            hint = f"it has {', '.join(own) or 'no modules'}"
            raise _refused("E613", label, f"scale.{component}", f"the adapter has nothing in {component}", hint)
    for component, names in own.items():
        adapter = _Adapter(label, component, names, modules[component], f"scale.{component}")
        numbers = _component(adapter, scale.get(component, 1.0))
        for name in names:
            expanded[component, name] = numbers.get(name, 1.0)
    return expanded


def expand_blocks(scale: Mapping[str, Json], own: Sequence[str], modules: Modules, *, label: str) -> dict[str, float]:
    """The scale of those of the modules `own` of a denoiser that `scale`, a mapping of its blocks, names.

    Raises:
        WeightsError: E611, E612, E613 as `expand_scales`.
    """
    return _component(_Adapter(label, "", own, modules, "scale"), scale)


def _component(adapter: _Adapter, scale: Json) -> dict[str, float]:
    """Scales of the adapter's modules in one component; a missing module keeps 1.0."""
    if not isinstance(scale, Mapping):
        return dict.fromkeys(adapter.own, scale_number(scale))
    if any(name.startswith(("down_blocks.", "up_blocks.")) for name in adapter.modules):
        return dict(_unet(adapter, scale))
    if adapter.component.startswith("text_encoder"):
        raise adapter.refuse("E611", "", "a text encoder has one scale", "write a number")
    return dict(_transformer(adapter, scale))


def _unet(adapter: _Adapter, scale: Mapping[str, Json]) -> Iterator[tuple[str, float]]:
    attentions = _attentions(adapter.modules)
    for direction, value in scale.items():
        if direction not in DIRECTIONS:
            raise adapter.refuse("E611", f".{direction}", "not a part of a UNet", "its parts are down, mid and up")
        if direction == "mid":
            yield from _middle(adapter, value)
        else:
            yield from _blocks(adapter, direction, value, attentions[DIRECTIONS[direction]])


def _attentions(modules: Modules) -> dict[str, dict[int, int]]:
    """How many attentions each block has, in `down_blocks` and `up_blocks`; blocks without any are left out."""
    counts: dict[str, dict[int, int]] = {"down_blocks": {}, "up_blocks": {}}
    for name in modules:
        match = re.match(r"(down_blocks|up_blocks)\.(\d+)\.attentions\.(\d+)\.", name)
        if match is not None:
            blocks, block = counts[match[1]], int(match[2])
            blocks[block] = max(blocks.get(block, 0), int(match[3]) + 1)
    return {direction: dict(sorted(blocks.items())) for direction, blocks in counts.items()}


def _middle(adapter: _Adapter, value: Json) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        raise adapter.refuse("E611", ".mid", "mid is one block", "write a number")
    if _is_list(value):
        if len(value) != 1:
            raise adapter.refuse("E612", ".mid", f"{len(value)} numbers for 1 attention", "write one number")
        value = value[0]
    found = [name for name in adapter.own if name.startswith("mid_block.attentions.0.")]
    if not found:
        raise adapter.refuse("E613", ".mid", "the adapter has nothing in the middle block's attention")
    yield from dict.fromkeys(found, scale_number(value)).items()


def _blocks(adapter: _Adapter, direction: str, value: Json, blocks: Mapping[int, int]) -> Iterator[tuple[str, float]]:
    """Scales of one direction; `blocks` are those with attentions, and how many each has."""
    if not blocks:
        raise adapter.refuse("E611", f".{direction}", f"no {direction} block of the base has attentions")
    reached = False
    for block, (path, numbers) in _by_block(adapter, direction, value, blocks).items():
        found = _in_block(adapter, DIRECTIONS[direction], block, numbers)
        if not found and isinstance(value, Mapping):
            raise adapter.refuse("E613", path, "the adapter has nothing in that block", _where(adapter))
        reached = reached or bool(found)
        yield from found.items()
    if not reached:
        raise adapter.refuse("E613", f".{direction}", "the adapter has nothing in those blocks", _where(adapter))


def _in_block(adapter: _Adapter, direction: str, block: int, numbers: Sequence[float]) -> dict[str, float]:
    """The scales of the adapter's modules in one block, from one number for each attention."""
    found: dict[str, float] = {}
    for name in adapter.own:
        match = _IN_BLOCK.match(name)
        if match is None or match[1] != direction or int(match[2]) != block:
            continue
        if int(match[3]) < len(numbers):
            found[name] = numbers[int(match[3])]
    return found


def _by_block(
    adapter: _Adapter, direction: str, value: Json, blocks: Mapping[int, int]
) -> dict[int, tuple[str, list[float]]]:
    """For each block, where the recipe states its scale, and one number for each attention."""
    found = {}
    if not isinstance(value, Mapping):
        path = f".{direction}"
        for block, count in blocks.items():
            found[block] = (path, _attention_numbers(adapter, path, value, count))
        return found
    for key, item in value.items():
        path = f".{direction}.{key}"
        block = _block_number(key)
        if block not in blocks:
            valid = ", ".join(f"block_{number}" for number in blocks)
            message = "no such block, or one without attentions"
            raise adapter.refuse("E611", path, message, f"the {direction} blocks with attentions are {valid}")
        found[block] = (path, _attention_numbers(adapter, path, item, blocks[block]))
    return found


def _block_number(key: str) -> int:
    """The number of the block that a key of a recipe names; -1 when it is not the name of a block."""
    match = _BLOCK_KEY.fullmatch(key)
    return -1 if match is None else int(match[1])


def _attention_numbers(adapter: _Adapter, path: str, value: Json, count: int) -> list[float]:
    """As `_numbers`, of a block of a UNet, where `set_adapters` takes a list of one number for all of them."""
    if _is_list(value) and len(value) == 1:
        value = value[0]
    return _numbers(adapter, path, value, count)


def _transformer(adapter: _Adapter, scale: Mapping[str, Json]) -> Iterator[tuple[str, float]]:
    lengths: dict[str, int] = {}
    for name in adapter.modules:
        match = _IN_LIST.match(name)
        if match is not None:
            lengths[match[1]] = max(lengths.get(match[1], 0), int(match[2]) + 1)
    for key, value in scale.items():
        if key not in lengths:
            hint = f"it has {', '.join(lengths)}"
            raise adapter.refuse("E611", f".{key}", "not a list of blocks of the base", hint)
        numbers = _list_numbers(adapter, key, value, lengths[key])
        found: dict[str, float] = {}
        for name in adapter.own:
            match = _IN_LIST.match(name)
            if match is not None and match[1] == key and int(match[2]) in numbers:
                found[name] = numbers[int(match[2])]
        if not found:
            raise adapter.refuse("E613", f".{key}", "the adapter has nothing in those blocks", _where(adapter))
        yield from found.items()


def _list_numbers(adapter: _Adapter, key: str, value: Json, count: int) -> dict[int, float]:
    """The scales of the blocks in the list called `key`, by number of the block."""
    if not isinstance(value, Mapping):
        return dict(enumerate(_numbers(adapter, f".{key}", value, count)))
    numbers: dict[int, float] = {}
    for name, item in value.items():
        path = f".{key}.{name}"
        block = _block_number(name)
        if not 0 <= block < count:
            raise adapter.refuse("E611", path, "no such block", f"{key} has block_0 to block_{count - 1}")
        numbers[block] = _numbers(adapter, path, item, 1)[0]
    return numbers


def _numbers(adapter: _Adapter, path: str, value: Json, count: int) -> list[float]:
    """One number for each of `count` attentions or blocks."""
    if isinstance(value, Mapping):
        raise adapter.refuse("E611", path, "a block takes no mapping", "write a number, or a list of numbers")
    if not _is_list(value):
        return [scale_number(value)] * count
    if len(value) != count:
        message = f"{len(value)} numbers, expected {count}"
        raise adapter.refuse("E612", path, message, "write one number for all, or one for each")
    return list(map(scale_number, value))


def _is_list(value: Json) -> TypeGuard[Sequence[Json]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def scale_number(value: Json) -> float:
    """A scale that is one number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = f"BUG: a scale is not a number: {value!r}"
        raise AssertionError(message)  # noqa: TRY004 - the schema lets none through
    return float(value)


def _where(adapter: _Adapter) -> str:
    """The blocks in which the adapter does have something."""
    places: dict[str, None] = {}
    for name in adapter.own:
        in_block, in_list = _IN_BLOCK.match(name), _IN_LIST.match(name)
        if in_block is not None:
            places[f"{in_block[1].removesuffix('_blocks')}.block_{in_block[2]}"] = None
        elif name.startswith("mid_block."):
            places["mid"] = None
        elif in_list is not None:
            places[in_list[1]] = None
    if not places:
        return ""
    return f"it has something in {', '.join(places)}"
