"""The scale of an IP-Adapter at each cross-attention, as `set_ip_adapter_scale` means it.

One number is for all; in a mapping of `down`, `mid`, `up` and their blocks, what is left out is 0. There, a key that
names no block switches the whole adapter off without a word; here it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recipe_runner.canonical import Json
from recipe_runner.weights.ip_adapter.fit import AttentionPlace
from recipe_runner.weights.lora.scales import expand_blocks, scale_number
from recipe_runner.weights.modules import Modules


def expand_ip_scale(scale: Json, places: Sequence[AttentionPlace], modules: Modules, *, label: str) -> dict[str, float]:
    """The scale at each cross-attention of `places`, by its module. `label` names the adapter: `adapter look`.

    Raises:
        WeightsError: E611 a key that names no block with cross-attention, E612 a list of the wrong length.
    """
    cross = [place.module for place in places if place.cross]
    if not isinstance(scale, Mapping):
        return dict.fromkeys(cross, scale_number(scale))
    return {**dict.fromkeys(cross, 0.0), **expand_blocks(scale, cross, modules, label=label)}


def is_off(scale: Json) -> bool:
    """Whether a scale is 0 everywhere, and the adapter the same as one that is not there."""
    if isinstance(scale, Mapping):
        return all(is_off(part) for part in scale.values())
    if isinstance(scale, Sequence) and not isinstance(scale, str):
        return all(is_off(part) for part in scale)
    return scale_number(scale) == 0
