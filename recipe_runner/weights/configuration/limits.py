"""The most that a configuration may ask for: far above every published model, and far below what exhausts a machine.

A library builds one module for each layer, one table for each training step and one buffer for each position that a
configuration names, before it looks at the weights. What is refused here is never handed to one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from recipe_runner.weights.configuration.fault import Fault, KeyPath

_VOCABULARY_BYTES = 64_000_000
_TOKENS_BYTES = 16_000_000
_CONFIG_BYTES = 2_000_000
_BYTES = {
    "config.json": _CONFIG_BYTES, "scheduler_config.json": _CONFIG_BYTES, "preprocessor_config.json": _CONFIG_BYTES,
    "processor_config.json": _CONFIG_BYTES, "model_index.json": _CONFIG_BYTES, "generation_config.json": _CONFIG_BYTES,
    "video_preprocessor_config.json": _CONFIG_BYTES,
    "tokenizer_config.json": _TOKENS_BYTES, "special_tokens_map.json": _TOKENS_BYTES,
    "added_tokens.json": _TOKENS_BYTES,
}  # fmt: skip
"""Published ones: config.json up to 100 kB, tokenizer_config.json 1.2 MB (Gemma), tokenizer.json 34 MB (Gemma)."""

_COUNTS = re.compile(
    r"^(?!max_)(?:(?:\w*_)?(?:layers|depths?|blocks|experts|stages|repeats?)|\w*layers_per_block|n_layer)$"
)
"""Keys that say how many modules are built, for each block in some."""
_MULTIPLIED = ("block_out_channels", "layers_per_block", "transformer_layers_per_block")
"""A UNet has this many of that many of those."""

_BUILT = ("config.json", "scheduler_config.json", "preprocessor_config.json", "processor_config.json")
_DEEPEST = 32
_MOST_ELEMENTS = {"config.json": 1_000}
_MOST_ELEMENTS_OTHERWISE = 100_000
_MOST = 2**24


class _Limit(NamedTuple):
    """The range of the numbers whose keys match."""

    keys: re.Pattern[str]
    least: float
    most: float


_LIMITS = (
    # Any number: bases of positions, ids of tokens, what processors do with images of any size.
    _Limit(re.compile(r"theta|_base$|(?:^|_)ids?$|_index$|max_pixels|min_pixels|longest_edge"), -math.inf, math.inf),
    _Limit(_COUNTS, -math.inf, 1_000),
    _Limit(re.compile(r"num_(?:\w*_)?heads$|^n_heads?$|norm_num_groups$|^patch_size$"), -1, 100_000),
    _Limit(re.compile(r"timesteps$|_steps$"), -1, 100_000),
    # A side of an image or of its latents; tables of positions grow with its square.
    _Limit(re.compile(r"sample_(?:size|height|width)$|^(?:(?:image|crop)_size|height|width|shortest_edge)$"), 0, 8_192),
    _Limit(re.compile(r"pos_embed_max_size$"), 0, 1_024),
)
"""In this order: the first whose pattern is found in the key decides. Other whole numbers are at most 2**24."""


def most_bytes(name: str) -> int:
    """The most bytes that are read of a configuration file or vocabulary of this name."""
    return _BYTES.get(name, _VOCABULARY_BYTES)


def excesses(name: str, tree: Mapping[str, Any]) -> Iterator[Fault]:
    """What of the configuration file called `name` is outside its limits."""
    if name not in _BUILT:
        return
    longest = _MOST_ELEMENTS.get(name, _MOST_ELEMENTS_OTHERWISE)
    # A loop and not a recursion: a stranger decides how deep it goes.
    left: list[tuple[KeyPath, int, object]] = [((key,), 1, value) for key, value in tree.items()]
    while left:
        path, depth, value = left.pop()
        if depth > _DEEPEST:
            yield Fault(path[:_DEEPEST], f"{path[0]} is nested more than {_DEEPEST} deep")
            return
        if isinstance(value, dict):
            left.extend(((*path, key), depth + 1, each) for key, each in value.items())
        elif isinstance(value, list):
            if len(value) > longest:
                yield Fault(path, f"{path[-1]} has {len(value):,} elements; at most {longest:,} are built")
                continue
            left.extend((path, depth + 1, each) for each in value)
        elif reason := _outside(path[-1], value):
            yield Fault(path, f"{path[-1]} is {reason}")


def unfounded(config: Mapping[str, Any], tensors: int) -> Iterator[Fault]:
    """What a model's configuration asks for that `tensors` tensors cannot fill: no module is without one."""
    product = 1
    factors: list[str] = []
    for key, value in config.items():
        number = _largest(key, value)
        if number is None:
            continue
        if number > tensors:
            yield Fault((key,), f"{key} is {shown(number)}, and the weights have {tensors} tensors")
        elif key in _MULTIPLIED:
            product, factors = product * max(number, 1), [*factors, key]
    if product > tensors:
        said = f"{' x '.join(factors)} is {shown(product)}, and the weights have {tensors} tensors"
        yield Fault((factors[-1],), said)


def _largest(key: str, value: object) -> int | None:
    """How many modules a key asks for at most; None of one that asks for none."""
    if key == _MULTIPLIED[0]:
        return len(value) if isinstance(value, list) else None
    if _COUNTS.search(key) is None:
        return None
    if isinstance(value, list):
        numbers = [number for each in value if (number := _largest(key, each)) is not None]
        return max(numbers, default=None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _outside(key: str, value: object) -> str:
    """Why a scalar is outside its limits; empty where it is not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    if value != value:  # noqa: PLR0124 - only NaN is unequal to itself
        return "not a number"
    limit = next((limit for limit in _LIMITS if limit.keys.search(key)), None)
    if limit is None:
        least, most = (-_MOST, _MOST) if isinstance(value, int) else (-math.inf, math.inf)
    else:
        least, most = limit.least, limit.most
    if value > most:
        return f"{shown(value)}; at most {most:,} is built"
    if value < least:
        return f"{shown(value)}; it is at least {least:,}"
    return ""


def shown(value: object) -> str:
    """A value of a configuration for a message, never long."""
    if isinstance(value, int) and abs(value) > 10**18:
        return f"a number of about {value.bit_length() * 3 // 10} digits"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) >= 10**5 else str(value)
    if isinstance(value, str):
        return repr(value[:60])
    return f"{value!r:.60}"
