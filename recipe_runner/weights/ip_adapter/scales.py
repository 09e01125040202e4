"""The scale of an IP-Adapter at each attention, as `set_ip_adapter_scale` means it.

One number is for all; in a mapping of blocks (`down`, `mid`, `up` of a UNet, `transformer_blocks` of a transformer)
what is left out is 0. For a UNet, a key that names no block switches the whole adapter off in diffusers, without a
warning; here it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recipe_runner.canonical import Json
from recipe_runner.weights.ip_adapter.places import AttentionPlace
from recipe_runner.weights.lora.scales import expand_blocks, scale_number
from recipe_runner.weights.modules import Modules


def expand_ip_scale(scale: Json, places: Sequence[AttentionPlace], modules: Modules, *, label: str) -> dict[str, float]:
    """The scale at each attention of `places` where adapters act, by its module. `label` names it: `adapter look`.

    Raises:
        WeightsError: E611 a key that names no block, E612 a list of the wrong length, E613 a block where none acts.
    """
    acting = [place.module for place in places if place.acts]
    if not isinstance(scale, Mapping):
        return dict.fromkeys(acting, scale_number(scale))
    return {**dict.fromkeys(acting, 0.0), **expand_blocks(scale, acting, modules, label=label)}


def is_off(scale: Json) -> bool:
    """Whether a scale is 0 everywhere, so that the adapter has no effect."""
    if isinstance(scale, Mapping):
        return all(is_off(part) for part in scale.values())
    if isinstance(scale, Sequence) and not isinstance(scale, str):
        return all(is_off(part) for part in scale)
    return scale_number(scale) == 0
