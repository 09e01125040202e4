"""Names of a Flux transformer's modules in Black Forest Labs' code and XLabs' files, where q, k and v are one tensor.

Source: diffusers `scripts/convert_flux_to_diffusers.py` and `_convert_xlabs_flux_lora_to_diffusers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from recipe_runner.weights.lora.layout import Pieces, Rows
from recipe_runner.weights.modules import Modules


def attention_norms(attention: str, own: tuple[str, str]) -> dict[str, tuple[str, ...]]:
    """The norms of a double block's queries and keys in FLUX.1 and FLUX.2; `own` are diffusers' names of the two."""
    query, key = own
    return {f"{attention}.norm.query_norm": (f"attn.{query}",), f"{attention}.norm.key_norm": (f"attn.{key}",)}


SINGLE_NORMS: Mapping[str, tuple[str, ...]] = {
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
}
"""The norms of a single block."""

_DOUBLE = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    **attention_norms("img_attn", ("norm_q", "norm_k")),
    **attention_norms("txt_attn", ("norm_added_q", "norm_added_k")),
    "processor.qkv_lora1": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "processor.qkv_lora2": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "processor.proj_lora1": ("attn.to_out.0",),
    "processor.proj_lora2": ("attn.to_add_out",),
}
_SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
    **SINGLE_NORMS,
    "processor.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "processor.proj": ("proj_out",),
}
_OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
LAST_MODULATION = {"final_layer.adaLN_modulation.1": "norm_out.linear"}
"""The modulation of the last layer, in FLUX.1 and several other families."""
_BLOCKS = (
    ("transformer_blocks", "double_blocks", _DOUBLE),
    ("single_transformer_blocks", "single_blocks", _SINGLE),
)
"""Lists of blocks: diffusers' name, the original name, the parts of a block."""


def flux_names(modules: Modules) -> Iterator[tuple[str, Pieces]]:
    """Pairs of the original name and the modules it stands for, each with its rows of the original tensor."""
    if "single_transformer_blocks.0.attn.to_q" not in modules or "single_transformer_blocks.0.proj_mlp" not in modules:
        return
    for own, theirs, parts in _BLOCKS:
        yield from block_names(modules, own, theirs, parts)
    yield from outside_names(modules, _OUTSIDE, LAST_MODULATION)


def outside_names(
    modules: Modules, outside: Mapping[str, str], swapped: Mapping[str, str]
) -> Iterator[tuple[str, Pieces]]:
    """The original names of modules outside the blocks; the halves of the modules in `swapped` change places."""
    for name, module in outside.items():
        if module in modules:
            yield name, ((module, None),)
    for name, module in swapped.items():
        if module in modules:
            yield name, swapped_halves(modules, module)


def block_names(
    modules: Modules, own: str, theirs: str, parts: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, Pieces]]:
    """The original names of the modules in a list of blocks, called `own` in diffusers and `theirs` in the original.

    `parts` maps the original name of a part of a block to diffusers' modules, several where the original has one
    tensor for all.
    """
    for number in block_numbers(modules, own):
        for part, names in parts.items():
            pieces = fused(modules, [f"{own}.{number}.{name}" for name in names])
            if pieces:
                yield f"{theirs}.{number}.{part}", pieces


def block_numbers(modules: Modules, blocks: str) -> list[int]:
    """The numbers of the blocks in the list called `blocks`, in the order of `modules`."""
    pattern = re.compile(rf"{re.escape(blocks)}\.(\d+)\.")
    numbers: dict[int, None] = {}
    for name in modules:
        match = pattern.match(name)
        if match is not None:
            numbers[int(match[1])] = None
    return list(numbers)


def fused(modules: Modules, names: list[str]) -> Pieces:
    """The modules `names`, each with its rows of the one tensor that holds them all; empty when a module is missing."""
    if any(name not in modules for name in names):
        return ()
    if len(names) == 1:
        return ((names[0], None),)
    pieces: list[tuple[str, Rows | None]] = []
    start = 0
    for name in names:
        stop = start + modules[name][0]
        pieces.append((name, ((start, stop),)))
        start = stop
    return tuple(pieces)


def swapped_halves(modules: Modules, module: str) -> Pieces:
    """A modulation whose halves change places: shift and scale in the original are scale and shift in diffusers."""
    half = modules[module][0] // 2
    return ((module, ((half, 2 * half), (0, half))),)
