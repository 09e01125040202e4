"""Families identified by module names alone, for weights whose sizes no published model has, such as tiny test models.

Used only when no signature of `denoiser_families` matches. A name that several families share is not listed.
"""

from __future__ import annotations

from recipe_runner.pipelines.family import SDXL
from recipe_runner.weights.families.denoisers import FamilySignature

STRUCTURES: tuple[tuple[str, FamilySignature], ...] = (
    ("hunyuan-video", FamilySignature(r"^context_embedder_token_refiner_|^txt_in_individual_token_refiner_")),
    ("flux1", FamilySignature(
        r"^single_transformer_blocks_#_(?:attn_to_[qkv]|proj_mlp|norm_linear)$|^single_blocks_#_linear[12]$",
        without=r"^joint_transformer_blocks|_token_refiner|^single_transformer_blocks_#_attn_to_out",
    )),
    # Nunchaku's quantised weights have different shapes.
    ("flux1", FamilySignature(r"^single_transformer_blocks_#_(?:mlp_fc1|qkv_proj)$")),
    ("sd3", FamilySignature(r"^transformer_blocks_#_attn_add_[qkv]_proj$", needs=r"^pos_embed_proj$")),
    ("z-image", FamilySignature(r"^(?:layers|noise_refiner)_#_attention_to_[qkv]$")),
    ("lumina2", FamilySignature(r"^(?:layers|noise_refiner)_#_attn_to_[qkv]$")),
    ("lumina2", FamilySignature(r"^cap_embedder_#$", needs=r"^layers_#_attention_qkv$", without=r"pad_token")),
    ("z-image", FamilySignature(r"^cap_embedder_#$", needs=r"^layers_#_attention_qkv$")),
    ("wan", FamilySignature(r"^blocks_#_attn[12]_to_[qkv]$")),
    ("cogvideox", FamilySignature(r"^patch_embed_text_proj$", needs=r"^transformer_blocks_#_attn1_to_q$")),
    ("ltx", FamilySignature(r"^time_embed_emb_timestep_embedder_linear_#$", needs=r"^proj_in$", without="ff_conv")),
    (SDXL.name, FamilySignature(r"^add_embedding_linear_#$", without="^add_embedding_image")),
    (SDXL.name, FamilySignature(r"^label_emb_#_#$")),
)  # fmt: skip
"""Family name and signature. The first that matches is the answer."""
