"""Names of a UNet's modules in the original (LDM, sgm) code, from the real structure of the diffusers UNet.

The original numbers its blocks through: conv_in, then each resnet (with its attention) and each downsampler is one
`input_blocks.N`; on the way up each resnet is one `output_blocks.N`, an upsampler joining the last of its block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recipe_runner.weights.modules import Modules

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_PART = re.compile(r"(down_blocks|up_blocks)\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MID = {"mid_block.resnets.0": "0", "mid_block.attentions.0": "1", "mid_block.resnets.1": "2"}


def sgm_names(modules: Modules) -> Iterator[tuple[str, str]]:
    """Pairs of the original name and the diffusers name, for every module the original has too."""
    prefixes = dict(_prefixes(modules))
    for module in modules:
        if module in OUTSIDE:
            yield OUTSIDE[module], module
        elif part := _PART.fullmatch(module):
            direction, block, kind, index, rest = part.groups()
            prefix = prefixes.get(f"{direction}.{block}.{kind}.{index}")
            if prefix is not None:
                yield from ((f"{prefix}.{name}", module) for name in _inner(kind, rest))
        else:
            for start, number in _MID.items():
                if module.startswith(f"{start}."):
                    kind = start.split(".")[1]
                    for name in _inner(kind, module.removeprefix(f"{start}.")):
                        yield f"middle_block.{number}.{name}", module


def _inner(kind: str, rest: str) -> tuple[str, ...]:
    if kind == "resnets":
        return (RESNET[rest],) if rest in RESNET else ()
    if kind == "downsamplers":
        return ("op",)
    return (rest,)


def _prefixes(modules: Modules) -> Iterator[tuple[str, str]]:
    """Pairs of a diffusers block part and the original's prefix for it."""
    resnets, attentions, samplers = _structure(modules)
    number = 1
    for block, count in sorted(resnets["down_blocks"].items()):
        for index in range(count):
            yield f"down_blocks.{block}.resnets.{index}", f"input_blocks.{number}.0"
            yield f"down_blocks.{block}.attentions.{index}", f"input_blocks.{number}.1"
            number += 1
        if ("down_blocks", block) in samplers:
            yield f"down_blocks.{block}.downsamplers.0", f"input_blocks.{number}.0"
            number += 1
    number = 0
    for block, count in sorted(resnets["up_blocks"].items()):
        for index in range(count):
            yield f"up_blocks.{block}.resnets.{index}", f"output_blocks.{number}.0"
            yield f"up_blocks.{block}.attentions.{index}", f"output_blocks.{number}.1"
            number += 1
        if ("up_blocks", block) in samplers:
            place = 2 if ("up_blocks", block) in attentions else 1
            yield f"up_blocks.{block}.upsamplers.0", f"output_blocks.{number - 1}.{place}"


def _structure(
    modules: Modules,
) -> tuple[dict[str, dict[int, int]], frozenset[tuple[str, int]], frozenset[tuple[str, int]]]:
    resnets: dict[str, dict[int, int]] = {"down_blocks": {}, "up_blocks": {}}
    attentions: dict[tuple[str, int], None] = {}
    samplers: dict[tuple[str, int], None] = {}
    for module in modules:
        part = _PART.fullmatch(module)
        if part is None:
            continue
        direction, block, kind, index = part[1], int(part[2]), part[3], int(part[4])
        if kind == "resnets":
            counts = resnets[direction]
            counts[block] = max(counts.get(block, 0), index + 1)
        elif kind == "attentions":
            attentions[direction, block] = None
        else:
            samplers[direction, block] = None
    return resnets, frozenset(attentions), frozenset(samplers)
