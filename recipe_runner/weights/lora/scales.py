"""One scale for every module of an adapter, from a recipe's number or mapping of components and blocks.

The meaning is that of diffusers' `set_adapters` (`loaders/unet_loader_utils.py`, `_maybe_expand_lora_scales`;
`utils/peft_utils.py`, `set_weights_and_activate_adapters`): what is left out keeps 1.0; a UNet block's scale is one
number for each attention (transformer) in it; a resnet or sampler takes that of the attention with its own index;
blocks without attention, the resnets of the middle and what lies outside the blocks keep 1.0. Unlike there, a key that
names nothing is an error, and so is a list of another length than the block has attentions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from recipe_runner.canonical import Json
from recipe_runner.problems.problem import Problem, WeightsError
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
    problem = Problem(code=code, message=f"{label}: {place}: {message}", hint=hint)
    return WeightsError(problem).on(*place.split("."))


def expand_scales(scale: Json, layout: LoraLayout, modules: ModuleTable, *, label: str) -> dict[ModulePlace, float]:
    """The scale of every module of `layout`. `label` names the adapter in messages: `adapter style`.

    Raises:
        WeightsError: E611 a key that names nothing of the base, E612 a list of the wrong length, E613 a key that names
            nothing of the adapter.
    """
    own: dict[str, list[str]] = {}
    for module in layout.modules:
        own.setdefault(module.component, []).append(module.module)
    if not isinstance(scale, Mapping):
        value = scale_number(scale)
        return {(component, module): value for component, found in own.items() for module in found}
    for component in scale:
        if component not in modules:
            hint = f"it has {', '.join(modules)}"
            raise _refused("E611", label, f"scale.{component}", f"the base has no {component}", hint)
        if component not in own:
            hint = f"it has {', '.join(own) or 'no modules'}"
            raise _refused("E613", label, f"scale.{component}", f"the adapter has nothing in {component}", hint)
    expanded: dict[ModulePlace, float] = {}
    for component, found in own.items():
        adapter = _Adapter(label, component, found, modules[component], f"scale.{component}")
        values = _component(adapter, scale.get(component, 1.0))
        expanded.update({(component, module): values.get(module, 1.0) for module in found})
    return expanded


def expand_blocks(scale: Mapping[str, Json], own: Sequence[str], modules: Modules, *, label: str) -> dict[str, float]:
    """The scale of those of the modules `own` of a denoiser that `scale`, a mapping of its blocks, names.

    Raises:
        WeightsError: E611, E612, E613 as `expand_scales`.
    """
    return _component(_Adapter(label, "", own, modules, "scale"), scale)


def _component(adapter: _Adapter, scale: Json) -> dict[str, float]:
    """Scales of the adapter's modules in one component; a module that is not there keeps 1.0."""
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
            raise adapter.refuse("E611", f".{direction}", "no part of a UNet", "it has down, mid and up")
        if direction == "mid":
            yield from _middle(adapter, value)
            continue
        blocks = {block: count for (own, block), count in attentions.items() if own == DIRECTIONS[direction]}
        yield from _blocks(adapter, direction, value, blocks)


def _attentions(modules: Modules) -> dict[tuple[str, int], int]:
    """How many attentions each down and up block has; blocks without any are left out."""
    counts: dict[tuple[str, int], int] = {}
    for name in modules:
        match = re.match(r"(down_blocks|up_blocks)\.(\d+)\.attentions\.(\d+)\.", name)
        if match:
            place = (match[1], int(match[2]))
            counts[place] = max(counts.get(place, 0), int(match[3]) + 1)
    return dict(sorted(counts.items()))


def _middle(adapter: _Adapter, value: Json) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        raise adapter.refuse("E611", ".mid", "the middle has no blocks", "write a number")
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) != 1:
        raise adapter.refuse("E612", ".mid", f"{len(value)} numbers for 1 attention", "write one number")
    number = scale_number(value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value)
    found = [name for name in adapter.own if name.startswith("mid_block.attentions.0.")]
    if not found:
        raise adapter.refuse("E613", ".mid", "the adapter has nothing in the middle block's attention")
    yield from ((name, number) for name in found)


def _blocks(adapter: _Adapter, direction: str, value: Json, blocks: Mapping[int, int]) -> Iterator[tuple[str, float]]:
    """Scales of one direction; `blocks` are those with attentions, and how many each has."""
    if not blocks:
        raise adapter.refuse("E611", f".{direction}", f"no {direction} block of the base has attentions")
    by_block = _by_block(adapter, direction, value, blocks)
    reached = 0
    for block, (path, numbers) in by_block.items():
        found = 0
        for name in adapter.own:
            match = _IN_BLOCK.match(name)
            if match and match[1] == DIRECTIONS[direction] and int(match[2]) == block and int(match[3]) < len(numbers):
                yield name, numbers[int(match[3])]
                found += 1
        reached += found
        if not found and isinstance(value, Mapping):
            raise adapter.refuse("E613", path, "the adapter has nothing in that block", _where(adapter))
    if not reached:
        raise adapter.refuse("E613", f".{direction}", "the adapter has nothing in those blocks", _where(adapter))


def _by_block(
    adapter: _Adapter, direction: str, value: Json, blocks: Mapping[int, int]
) -> dict[int, tuple[str, list[float]]]:
    """For each block, where the recipe says it and one number for each attention."""
    if not isinstance(value, Mapping):
        path = f".{direction}"
        return {block: (path, _attention_numbers(adapter, path, value, count)) for block, count in blocks.items()}
    found = {}
    for key, item in value.items():
        path = f".{direction}.{key}"
        match = _BLOCK_KEY.fullmatch(key)
        if match is None or int(match[1]) not in blocks:
            valid = ", ".join(f"block_{block}" for block in blocks)
            message = "no such block, or one without attentions"
            raise adapter.refuse("E611", path, message, f"the {direction} blocks with attentions are {valid}")
        found[int(match[1])] = (path, _attention_numbers(adapter, path, item, blocks[int(match[1])]))
    return found


def _attention_numbers(adapter: _Adapter, path: str, value: Json, count: int) -> list[float]:
    """As `_numbers`, of a block of a UNet, where `set_adapters` takes a list of one number for all of them."""
    single = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1
    return _numbers(adapter, path, value[0] if single else value, count)  # type: ignore[index]


def _transformer(adapter: _Adapter, scale: Mapping[str, Json]) -> Iterator[tuple[str, float]]:
    lists: dict[str, int] = {}
    for name in adapter.modules:
        if match := _IN_LIST.match(name):
            lists[match[1]] = max(lists.get(match[1], 0), int(match[2]) + 1)
    for key, value in scale.items():
        if key not in lists:
            hint = f"it has {', '.join(lists)}"
            raise adapter.refuse("E611", f".{key}", "no list of blocks of the base", hint)
        numbers: dict[int, float]
        if isinstance(value, Mapping):
            numbers = {}
            for block, item in value.items():
                match = _BLOCK_KEY.fullmatch(block)
                if match is None or int(match[1]) >= lists[key]:
                    hint = f"{key} has block_0 to block_{lists[key] - 1}"
                    raise adapter.refuse("E611", f".{key}.{block}", "no such block", hint)
                numbers[int(match[1])] = _numbers(adapter, f".{key}.{block}", item, 1)[0]
        else:
            numbers = dict(enumerate(_numbers(adapter, f".{key}", value, lists[key])))
        found = [
            (name, numbers[int(match[2])])
            for name in adapter.own
            if (match := _IN_LIST.match(name)) and match[1] == key and int(match[2]) in numbers
        ]
        if not found:
            raise adapter.refuse("E613", f".{key}", "the adapter has nothing in those blocks", _where(adapter))
        yield from found


def _numbers(adapter: _Adapter, path: str, value: Json, count: int) -> list[float]:
    """One number for each of `count` attentions or blocks."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != count:
            message = f"{len(value)} numbers, and {count} {'is' if count == 1 else 'are'} needed"
            raise adapter.refuse("E612", path, message, "write one number for all, or one for each")
        return [scale_number(item) for item in value]
    if isinstance(value, Mapping):
        raise adapter.refuse("E611", path, "a block has no blocks", "write a number, or a list of numbers")
    return [scale_number(value)] * count


def scale_number(value: Json) -> float:
    """A scale that is one number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = f"BUG: a scale that is no number: {value!r}"
        raise AssertionError(message)  # noqa: TRY004 - the schema lets none through
    return float(value)


def _where(adapter: _Adapter) -> str:
    """The blocks in which the adapter does have something."""
    places: dict[str, None] = {}
    for name in adapter.own:
        if match := _IN_BLOCK.match(name):
            places[f"{match[1].removesuffix('_blocks')}.block_{match[2]}"] = None
        elif name.startswith("mid_block."):
            places["mid"] = None
        elif match := _IN_LIST.match(name):
            places[match[1]] = None
    return f"it has something in {', '.join(places)}" if places else ""
