"""Names of a Stable Diffusion 3 transformer's modules in Stability's code, where q, k and v are one tensor.

Source: diffusers `loaders/single_file_utils.py`, `convert_sd3_transformer_checkpoint_to_diffusers`.
"""

from __future__ import annotations

from collections.abc import Iterator

from recipe_runner.weights.lora.flux_names import (
    LAST_MODULATION,
    block_names,
    block_numbers,
    outside_names,
    swapped_halves,
)
from recipe_runner.weights.lora.layout import Pieces
from recipe_runner.weights.modules import Modules

_PARTS = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "x_block.attn.proj": ("attn.to_out.0",),
    "context_block.attn.proj": ("attn.to_add_out",),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block.attn2.proj": ("attn2.to_out.0",),
    "x_block.attn.ln_q": ("attn.norm_q",),
    "x_block.attn.ln_k": ("attn.norm_k",),
    "x_block.attn2.ln_q": ("attn2.norm_q",),
    "x_block.attn2.ln_k": ("attn2.norm_k",),
    "context_block.attn.ln_q": ("attn.norm_added_q",),
    "context_block.attn.ln_k": ("attn.norm_added_k",),
    "x_block.mlp.fc1": ("ff.net.0.proj",),
    "x_block.mlp.fc2": ("ff.net.2",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",),
    "context_block.mlp.fc2": ("ff_context.net.2",),
    "x_block.adaLN_modulation.1": ("norm1.linear",),
    "context_block.adaLN_modulation.1": ("norm1_context.linear",),
}
_OUTSIDE = {
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_CONTEXT_NORM = "context_block.adaLN_modulation.1"
_BLOCKS = "transformer_blocks"


def sd3_names(modules: Modules) -> Iterator[tuple[str, Pieces]]:
    """Pairs of the original name and the modules it stands for, each with its rows of the original tensor."""
    if "pos_embed.proj" not in modules or "transformer_blocks.0.attn.add_q_proj" not in modules:
        return
    last = max(block_numbers(modules, _BLOCKS))
    for name, pieces in block_names(modules, _BLOCKS, "joint_blocks", _PARTS):
        if name == f"joint_blocks.{last}.{_CONTEXT_NORM}":
            yield name, swapped_halves(modules, pieces[0][0])
        else:
            yield name, pieces
    yield from outside_names(modules, _OUTSIDE, LAST_MODULATION)
