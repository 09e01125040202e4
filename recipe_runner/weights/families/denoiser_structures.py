"""Families told by names alone, for weights whose sizes are those of no published model: small ones made for tests.

Asked only when no mark of `denoiser_families` is borne. What several families share tells none.
"""

from __future__ import annotations

from recipe_runner.pipelines.family import SDXL
from recipe_runner.weights.families.denoisers import Mark

STRUCTURES: tuple[tuple[str, Mark], ...] = (
    ("hunyuan-video", Mark(r"^context_embedder_token_refiner_|^txt_in_individual_token_refiner_")),
    ("flux1", Mark(
        r"^single_transformer_blocks_#_(?:attn_to_[qkv]|proj_mlp|norm_linear)$|^single_blocks_#_linear[12]$",
        without=r"^joint_transformer_blocks|_token_refiner|^single_transformer_blocks_#_attn_to_out",
    )),
    # Nunchaku's quantised weights have shapes of their own.
    ("flux1", Mark(r"^single_transformer_blocks_#_(?:mlp_fc1|qkv_proj)$")),
    ("sd3", Mark(r"^transformer_blocks_#_attn_add_[qkv]_proj$", needs=r"^pos_embed_proj$")),
    ("z-image", Mark(r"^(?:layers|noise_refiner)_#_attention_to_[qkv]$")),
    ("lumina2", Mark(r"^(?:layers|noise_refiner)_#_attn_to_[qkv]$")),
    ("lumina2", Mark(r"^cap_embedder_#$", needs=r"^layers_#_attention_qkv$", without=r"pad_token")),
    ("z-image", Mark(r"^cap_embedder_#$", needs=r"^layers_#_attention_qkv$")),
    ("wan", Mark(r"^blocks_#_attn[12]_to_[qkv]$")),
    ("cogvideox", Mark(r"^patch_embed_text_proj$", needs=r"^transformer_blocks_#_attn1_to_q$")),
    ("ltx", Mark(r"^time_embed_emb_timestep_embedder_linear_#$", needs=r"^proj_in$", without="ff_conv")),
    (SDXL.name, Mark(r"^add_embedding_linear_#$", without="^add_embedding_image")),
    (SDXL.name, Mark(r"^label_emb_#_#$")),
)  # fmt: skip
"""Family name and mark, in this order."""
