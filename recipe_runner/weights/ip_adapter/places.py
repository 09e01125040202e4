"""The attentions of a denoiser that IP-Adapter files number, from the names of its modules."""

from __future__ import annotations

import re
from dataclasses import dataclass

from recipe_runner.weights.modules import Modules

_UNET = re.compile(
    r"(?P<place>(?P<part>down_blocks|up_blocks|mid_block)(?:\.(?P<block>\d+))?\.attentions\.(?P<index>\d+)"
    r"\.transformer_blocks\.(?P<layer>\d+)\.attn(?P<kind>[12]))\.to_k"
)
_PARTS = ("down_blocks", "up_blocks", "mid_block")
"""The order in which a UNet2DConditionModel registers its parts, and IP-Adapters number its attentions."""
_JOINT = re.compile(r"(?P<place>transformer_blocks\.(?P<block>\d+)\.attn(?P<second>2?))\.to_k")


@dataclass(frozen=True, slots=True)
class AttentionPlace:
    """One attention of a denoiser: its module, its number among all, and whether IP-Adapters act there."""

    module: str
    number: int
    acts: bool


def unet_attentions(modules: Modules) -> tuple[AttentionPlace, ...]:
    """The attentions of a UNet in the order of `unet.attn_processors`; IP-Adapters act in those that read the text."""
    found = sorted(
        (_PARTS.index(m["part"]), int(m["block"] or 0), int(m["index"]), int(m["layer"]), int(m["kind"]), m["place"])
        for m in map(_UNET.fullmatch, modules)
        if m is not None
    )
    return tuple(AttentionPlace(place, number, kind == 2) for number, (*_, kind, place) in enumerate(found))  # noqa: PLR2004 - attn2


def joint_attentions(modules: Modules) -> tuple[AttentionPlace, ...]:
    """The attentions of the joint (double) blocks of a transformer, in the order of `transformer.attn_processors`.

    Blocks of Stable Diffusion 3.5 may have a second one, `attn2`, which counts too.
    """
    found = sorted((int(m["block"]), m["second"], m["place"]) for m in map(_JOINT.fullmatch, modules) if m is not None)
    return tuple(AttentionPlace(place, number, True) for number, (*_, place) in enumerate(found))  # noqa: FBT003
