"""Names of a Flux transformer's modules in Black Forest Labs' code and XLabs' files, where q, k and v are one tensor.

Source: diffusers `scripts/convert_flux_to_diffusers.py` and `_convert_xlabs_flux_lora_to_diffusers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from recipe_runner.weights.lora.layout import Rows
from recipe_runner.weights.modules import Modules

_Pieces = tuple[tuple[str, Rows | None], ...]


def attention_norms(attention: str, own: tuple[str, str]) -> dict[str, tuple[str, ...]]:
    """The norms of a double block's queries and keys, in FLUX.1 and FLUX.2."""
    return {
        f"{attention}.norm.{name}_norm": (f"attn.{norm}",) for name, norm in zip(("query", "key"), own, strict=True)
    }


SINGLE_NORMS: Mapping[str, tuple[str, ...]] = {
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
}
"""The same of a single block."""

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
_BLOCK = re.compile(r"(transformer_blocks|single_transformer_blocks)\.(\d+)\.")


def flux_names(modules: Modules) -> Iterator[tuple[str, _Pieces]]:
    """Pairs of the original name and the modules it stands for, each with its rows of the original tensor."""
    if "single_transformer_blocks.0.attn.to_q" not in modules or "single_transformer_blocks.0.proj_mlp" not in modules:
        return
    for kind, number in dict.fromkeys((m[1], int(m[2])) for name in modules if (m := _BLOCK.match(name))):
        parts, theirs = (_SINGLE, "single_blocks") if kind.startswith("single") else (_DOUBLE, "double_blocks")
        for name, own in parts.items():
            pieces = fused(modules, [f"{kind}.{number}.{part}" for part in own])
            if pieces:
                yield f"{theirs}.{number}.{name}", pieces
    for name, module in _OUTSIDE.items():
        if module in modules:
            yield name, ((module, None),)
    # The halves of the last modulation are the other way round: shift and scale there, scale and shift here.
    last = "norm_out.linear"
    if last in modules:
        half = modules[last][0] // 2
        yield "final_layer.adaLN_modulation.1", ((last, ((half, 2 * half), (0, half))),)


def fused(modules: Modules, names: list[str]) -> _Pieces:
    """The modules `names` with the rows that each has in one tensor of all; empty when one does not exist."""
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
