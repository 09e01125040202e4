"""Names of transformers' modules in their original code, as data: AuraFlow, FLUX.2, Krea 2, Wan, Z-Image, and others.

Trainers that work on the original code (ai-toolkit, musubi-tuner, ComfyUI) write them into LoRA files. Source: the
functions `convert_…_to_diffusers` of these families in diffusers' `loaders/single_file_utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from recipe_runner.weights.lora.flux_names import (
    LAST_MODULATION,
    SINGLE_NORMS,
    attention_norms,
    block_names,
    outside_names,
)
from recipe_runner.weights.lora.layout import Pieces
from recipe_runner.weights.modules import Modules

_ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")


@dataclass(frozen=True, kw_only=True)
class _Code:
    """One family's original code.

    `probe` are modules of diffusers that the family alone has together. `lists` maps diffusers' lists of blocks to the
    original ones with the parts of a block: original name to diffusers' modules, several where the original has one
    tensor for all. `outside` are the other modules; of those in `swapped` the halves change places.
    """

    probe: tuple[str, ...]
    lists: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]]
    outside: Mapping[str, str] = field(default_factory=dict)
    swapped: Mapping[str, str] = field(default_factory=dict)


def _side(
    prefix: str, attention: tuple[str, ...], out: str, feed: str, norms: tuple[str, str]
) -> dict[str, tuple[str, ...]]:
    return {
        f"{prefix}_attn.qkv": attention,
        f"{prefix}_attn.proj": (out,),
        f"{prefix}_mlp.0": (f"{feed}.linear_in",),
        f"{prefix}_mlp.2": (f"{feed}.linear_out",),
        **attention_norms(f"{prefix}_attn", norms),
    }


def _hunyuan_side(
    prefix: str, attention: tuple[str, ...], out: str, feed: str, norm: str
) -> dict[str, tuple[str, ...]]:
    return {
        f"{prefix}_attn_qkv": attention,
        f"{prefix}_attn_proj": (out,),
        f"{prefix}_mlp.fc1": (f"{feed}.net.0.proj",),
        f"{prefix}_mlp.fc2": (f"{feed}.net.2",),
        f"{prefix}_mod.linear": (f"{norm}.linear",),
    }


def _each(letters: str, theirs: str, own: str) -> dict[str, tuple[str, ...]]:
    """One pair of names for each letter, which replaces `{}` in both."""
    return {theirs.format(letter): (own.format(letter),) for letter in letters}


def _next_dit(parts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, Mapping[str, tuple[str, ...]]]]:
    """The three lists of blocks of a Next-DiT, which both have the same names and parts."""
    return {name: (name, parts) for name in ("layers", "noise_refiner", "context_refiner")}


_IMAGE = ("attn.to_q", "attn.to_k", "attn.to_v")
_LUMINA = {
    "attention.qkv": _IMAGE,
    "attention.out": ("attn.to_out.0",),
    "attention.q_norm": ("attn.norm_q",),
    "attention.k_norm": ("attn.norm_k",),
    "feed_forward.w1": ("feed_forward.linear_1",),
    "feed_forward.w2": ("feed_forward.linear_2",),
    "feed_forward.w3": ("feed_forward.linear_3",),
    "adaLN_modulation.1": ("norm1.linear",),
}
_Z_IMAGE = {
    "attention.qkv": ("attention.to_q", "attention.to_k", "attention.to_v"),
    "attention.out": ("attention.to_out.0",),
    "attention.q_norm": ("attention.norm_q",),
    "attention.k_norm": ("attention.norm_k",),
}
_WAN = {
    **_each("qkv", "self_attn.{}", "attn1.to_{}"),
    **_each("qkv", "cross_attn.{}", "attn2.to_{}"),
    "self_attn.o": ("attn1.to_out.0",),
    "cross_attn.o": ("attn2.to_out.0",),
    "cross_attn.k_img": ("attn2.add_k_proj",),
    "cross_attn.v_img": ("attn2.add_v_proj",),
    "ffn.0": ("ffn.net.0.proj",),
    "ffn.2": ("ffn.net.2",),
}


def _two_layers(theirs: str, first: str, second: str, own: str) -> dict[str, str]:
    return {f"{theirs}.{first}": f"{own}.linear_1", f"{theirs}.{second}": f"{own}.linear_2"}


_KREA2 = {
    **_each("qkv", "attn.w{}", "attn.to_{}"),
    "attn.wo": ("attn.to_out.0",),
    "attn.gate": ("attn.to_gate",),
    "mlp.gate": ("ff.gate",),
    "mlp.up": ("ff.up",),
    "mlp.down": ("ff.down",),
}


def _aura(theirs: str, own: str) -> dict[str, tuple[str, ...]]:
    return {
        f"{theirs}.c_fc1": (f"{own}.linear_1",),
        f"{theirs}.c_fc2": (f"{own}.linear_2",),
        f"{theirs}.c_proj": (f"{own}.out_projection",),
    }


_CODES: tuple[_Code, ...] = (
    _Code(
        probe=("distilled_guidance_layer.layers.0.linear_1",),
        lists={
            # Chroma's other names are FLUX.1's.
            "distilled_guidance_layer.layers": (
                "distilled_guidance_layer.layers",
                {"in_layer": ("linear_1",), "out_layer": ("linear_2",)},
            )
        },
    ),
    _Code(
        probe=("joint_transformer_blocks.0.attn.add_q_proj", "time_step_proj.linear_1"),
        lists={
            "joint_transformer_blocks": (
                "double_layers",
                {
                    **_each("qkv", "attn.w2{}", "attn.to_{}"),
                    **_each("qkv", "attn.w1{}", "attn.add_{}_proj"),
                    "attn.w2o": ("attn.to_out.0",),
                    "attn.w1o": ("attn.to_add_out",),
                    "modX.1": ("norm1.linear",),
                    "modC.1": ("norm1_context.linear",),
                    **_aura("mlpX", "ff"),
                    **_aura("mlpC", "ff_context"),
                },
            ),
            "single_transformer_blocks": (
                "single_layers",
                {
                    **_each("qkv", "attn.w1{}", "attn.to_{}"),
                    "attn.w1o": ("attn.to_out.0",),
                    "modCX.1": ("norm1.linear",),
                    **_aura("mlp", "ff"),
                },
            ),
        },
        outside={
            "cond_seq_linear": "context_embedder",
            **_two_layers("t_embedder.mlp", "0", "2", "time_step_proj"),
            "init_x_linear": "pos_embed.proj",
            "final_linear": "proj_out",
        },
        swapped={"modF.1": "norm_out.linear"},
    ),
    _Code(
        probe=("transformer_blocks.0.attn.to_gate", "text_fusion.projector"),
        lists={
            "transformer_blocks": ("blocks", _KREA2),
            "text_fusion.layerwise_blocks": ("txtfusion.layerwise_blocks", _KREA2),
            "text_fusion.refiner_blocks": ("txtfusion.refiner_blocks", _KREA2),
        },
        outside={
            "first": "img_in",
            **_two_layers("tmlp", "0", "2", "time_embed"),
            "tproj.1": "time_mod_proj",
            **_two_layers("txtmlp", "1", "3", "txt_in"),
            "txtfusion.projector": "text_fusion.projector",
            "last.linear": "final_layer.linear",
        },
    ),
    _Code(
        probe=("single_transformer_blocks.0.attn.to_qkv_mlp_proj",),
        lists={
            "transformer_blocks": (
                "double_blocks",
                _side("img", _IMAGE, "attn.to_out.0", "ff", ("norm_q", "norm_k"))
                | _side("txt", _ADDED, "attn.to_add_out", "ff_context", ("norm_added_q", "norm_added_k")),
            ),
            "single_transformer_blocks": (
                "single_blocks",
                {"linear1": ("attn.to_qkv_mlp_proj",), "linear2": ("attn.to_out",), **SINGLE_NORMS},
            ),
        },
        outside={
            "img_in": "x_embedder",
            "txt_in": "context_embedder",
            **_two_layers("time_in", "in_layer", "out_layer", "time_guidance_embed.timestep_embedder"),
            **_two_layers("guidance_in", "in_layer", "out_layer", "time_guidance_embed.guidance_embedder"),
            "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
            "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
            "single_stream_modulation.lin": "single_stream_modulation.linear",
            "final_layer.linear": "proj_out",
        },
        swapped=LAST_MODULATION,
    ),
    _Code(
        probe=("blocks.0.attn1.to_q", "condition_embedder.time_proj"),
        lists={"blocks": ("blocks", _WAN)},
        outside={
            **_two_layers("text_embedding", "0", "2", "condition_embedder.text_embedder"),
            **_two_layers("time_embedding", "0", "2", "condition_embedder.time_embedder"),
            "time_projection.1": "condition_embedder.time_proj",
            "head.head": "proj_out",
        },
    ),
    _Code(
        probe=("layers.0.attention.to_q", "layers.0.feed_forward.w1"),
        lists=_next_dit(_Z_IMAGE),
        outside={
            "x_embedder": "all_x_embedder.2-1",
            "final_layer.linear": "all_final_layer.2-1.linear",
            "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
        },
    ),
    _Code(
        # Ideogram 4, whose other names are Z-Image's.
        probe=("layers.0.attention.to_q", "llm_cond_proj"),
        lists={"layers": ("layers", {"attention.o": ("attention.to_out.0",)})},
    ),
    _Code(
        probe=("layers.0.attn.to_q", "layers.0.feed_forward.linear_1"),
        lists=_next_dit(_LUMINA),
        outside={
            "cap_embedder.1": "time_caption_embed.caption_embedder.1",
            **_two_layers("t_embedder.mlp", "0", "2", "time_caption_embed.timestep_embedder"),
            "final_layer.adaLN_modulation.1": "norm_out.linear_1",
            "final_layer.linear": "norm_out.linear_2",
        },
    ),
    _Code(
        probe=("context_embedder.token_refiner.refiner_blocks.0.attn.to_q", "single_transformer_blocks.0.proj_mlp"),
        lists={
            "transformer_blocks": (
                "double_blocks",
                _hunyuan_side("img", _IMAGE, "attn.to_out.0", "ff", "norm1")
                | _hunyuan_side("txt", _ADDED, "attn.to_add_out", "ff_context", "norm1_context"),
            ),
            "single_transformer_blocks": (
                "single_blocks",
                {
                    "linear1": (*_IMAGE, "proj_mlp"),
                    "linear2": ("proj_out",),
                    "modulation.linear": ("norm.linear",),
                },
            ),
            "context_embedder.token_refiner.refiner_blocks": (
                "txt_in.individual_token_refiner.blocks",
                {
                    "self_attn_qkv": _IMAGE,
                    "self_attn_proj": ("attn.to_out.0",),
                    "mlp.fc1": ("ff.net.0.proj",),
                    "mlp.fc2": ("ff.net.2",),
                    "adaLN_modulation.1": ("norm_out.linear",),
                },
            ),
        },
        outside={
            "img_in.proj": "x_embedder.proj",
            "txt_in.input_embedder": "context_embedder.proj_in",
            **_two_layers("txt_in.t_embedder.mlp", "0", "2", "context_embedder.time_text_embed.timestep_embedder"),
            **_two_layers(
                "txt_in.c_embedder", "linear_1", "linear_2", "context_embedder.time_text_embed.text_embedder"
            ),
            **_two_layers("time_in.mlp", "0", "2", "time_text_embed.timestep_embedder"),
            **_two_layers("guidance_in.mlp", "0", "2", "time_text_embed.guidance_embedder"),
            **_two_layers("vector_in", "in_layer", "out_layer", "time_text_embed.text_embedder"),
            "final_layer.linear": "proj_out",
        },
        swapped=LAST_MODULATION,
    ),
)


def original_names(modules: Modules) -> Iterator[tuple[str, Pieces]]:
    """Pairs of the original name and the modules it stands for, each with its rows of the original tensor."""
    for code in _CODES:
        if any(module not in modules for module in code.probe):
            continue
        for own, (theirs, parts) in code.lists.items():
            yield from block_names(modules, own, theirs, parts)
        yield from outside_names(modules, code.outside, code.swapped)
