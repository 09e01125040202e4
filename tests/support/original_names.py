"""Tensors of transformers under the names of their original code, at true size, written down by hand.

`make_key_tables` proves them: diffusers' own converters make the names and shapes of its classes of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recipe_runner.weights.modules import Shape

ORIGINALS: dict[str, tuple[str, str, str, str]] = {
    # name: the table of diffusers' class, family, prefix in the file, diffusers' converter
    "flux1-bfl": ("flux1", "flux1", "", "convert_flux_transformer_checkpoint_to_diffusers"),
    "flux2-bfl": ("flux2", "flux2", "", "convert_flux2_transformer_checkpoint_to_diffusers"),
    "chroma-comfyui": (
        "chroma",
        "chroma",
        "model.diffusion_model.",
        "convert_chroma_transformer_checkpoint_to_diffusers",
    ),
    "wan-14b-original": ("wan-14b", "wan", "", "convert_wan_transformer_to_diffusers"),
    "wan-1.3b-original": ("wan-1.3b", "wan", "", "convert_wan_transformer_to_diffusers"),
    "z-image-comfyui": (
        "z-image",
        "z-image",
        "model.diffusion_model.",
        "convert_z_image_transformer_checkpoint_to_diffusers",
    ),
    "lumina2-original": ("lumina2", "lumina2", "", "convert_lumina2_to_diffusers"),
    "auraflow-original": ("auraflow", "auraflow", "", "convert_auraflow_transformer_checkpoint_to_diffusers"),
    "sd3-medium-original": (
        "sd3-medium",
        "sd3",
        "model.diffusion_model.",
        "convert_sd3_transformer_checkpoint_to_diffusers",
    ),
    "krea2-original": ("krea2", "krea2", "", "convert_krea2_transformer_checkpoint_to_diffusers"),
    "hunyuan-video-original": ("hunyuan-video", "hunyuan-video", "", "convert_hunyuan_video_transformer_to_diffusers"),
}


def _linear(name: str, rows: int, columns: int, *, bias: bool = True) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def _flux_blocks(width: int, head: int, *, modulated: bool) -> Iterator[tuple[str, Shape]]:
    for number in range(19):
        block = f"double_blocks.{number}"
        for side in ("img", "txt"):
            if modulated:
                yield from _linear(f"{block}.{side}_mod.lin", 6 * width, width)
            yield from _linear(f"{block}.{side}_attn.qkv", 3 * width, width)
            yield f"{block}.{side}_attn.norm.query_norm.scale", (head,)
            yield f"{block}.{side}_attn.norm.key_norm.scale", (head,)
            yield from _linear(f"{block}.{side}_attn.proj", width, width)
            yield from _linear(f"{block}.{side}_mlp.0", 4 * width, width)
            yield from _linear(f"{block}.{side}_mlp.2", width, 4 * width)
    for number in range(38):
        block = f"single_blocks.{number}"
        yield from _linear(f"{block}.linear1", 7 * width, width)
        yield from _linear(f"{block}.linear2", width, 5 * width)
        yield f"{block}.norm.query_norm.scale", (head,)
        yield f"{block}.norm.key_norm.scale", (head,)
        if modulated:
            yield from _linear(f"{block}.modulation.lin", 3 * width, width)


def _flux1() -> Iterator[tuple[str, Shape]]:
    width = 3072
    yield from _linear("img_in", width, 64)
    yield from _linear("txt_in", width, 4096)
    for name, read in (("time_in", 256), ("vector_in", 768), ("guidance_in", 256)):
        yield from _linear(f"{name}.in_layer", width, read)
        yield from _linear(f"{name}.out_layer", width, width)
    yield from _flux_blocks(width, 128, modulated=True)
    yield from _linear("final_layer.linear", 64, width)
    yield from _linear("final_layer.adaLN_modulation.1", 2 * width, width)


def _chroma() -> Iterator[tuple[str, Shape]]:
    width, guide = 3072, 5120
    yield from _linear("img_in", width, 64)
    yield from _linear("txt_in", width, 4096)
    yield from _linear("distilled_guidance_layer.in_proj", guide, 64)
    yield from _linear("distilled_guidance_layer.out_proj", width, guide)
    for number in range(5):
        yield from _linear(f"distilled_guidance_layer.layers.{number}.in_layer", guide, guide)
        yield from _linear(f"distilled_guidance_layer.layers.{number}.out_layer", guide, guide)
        yield f"distilled_guidance_layer.norms.{number}.scale", (guide,)
    yield from _flux_blocks(width, 128, modulated=False)
    yield from _linear("final_layer.linear", 64, width)


def _flux2() -> Iterator[tuple[str, Shape]]:
    width, head = 6144, 128
    bare = {"bias": False}
    yield from _linear("img_in", width, 128, **bare)
    yield from _linear("txt_in", width, 15360, **bare)
    for name in ("time_in", "guidance_in"):
        yield from _linear(f"{name}.in_layer", width, 256, **bare)
        yield from _linear(f"{name}.out_layer", width, width, **bare)
    for side in ("img", "txt"):
        yield from _linear(f"double_stream_modulation_{side}.lin", 6 * width, width, **bare)
    yield from _linear("single_stream_modulation.lin", 3 * width, width, **bare)
    for number in range(8):
        block = f"double_blocks.{number}"
        for side in ("img", "txt"):
            yield from _linear(f"{block}.{side}_attn.qkv", 3 * width, width, **bare)
            yield f"{block}.{side}_attn.norm.query_norm.scale", (head,)
            yield f"{block}.{side}_attn.norm.key_norm.scale", (head,)
            yield from _linear(f"{block}.{side}_attn.proj", width, width, **bare)
            yield from _linear(f"{block}.{side}_mlp.0", 6 * width, width, **bare)
            yield from _linear(f"{block}.{side}_mlp.2", width, 3 * width, **bare)
    for number in range(48):
        block = f"single_blocks.{number}"
        yield from _linear(f"{block}.linear1", 9 * width, width, **bare)
        yield from _linear(f"{block}.linear2", width, 4 * width, **bare)
        yield f"{block}.norm.query_norm.scale", (head,)
        yield f"{block}.norm.key_norm.scale", (head,)
    yield from _linear("final_layer.linear", 128, width, **bare)
    yield from _linear("final_layer.adaLN_modulation.1", 2 * width, width, **bare)


def _wan(width: int, hidden: int, layers: int) -> Iterator[tuple[str, Shape]]:
    yield "patch_embedding.weight", (width, 16, 1, 2, 2)
    yield "patch_embedding.bias", (width,)
    yield from _linear("text_embedding.0", width, 4096)
    yield from _linear("text_embedding.2", width, width)
    yield from _linear("time_embedding.0", width, 256)
    yield from _linear("time_embedding.2", width, width)
    yield from _linear("time_projection.1", 6 * width, width)
    for number in range(layers):
        block = f"blocks.{number}"
        yield f"{block}.modulation", (1, 6, width)
        for part in ("self_attn", "cross_attn"):
            for letter in "qkvo":
                yield from _linear(f"{block}.{part}.{letter}", width, width)
            yield f"{block}.{part}.norm_q.weight", (width,)
            yield f"{block}.{part}.norm_k.weight", (width,)
        yield f"{block}.norm3.weight", (width,)
        yield f"{block}.norm3.bias", (width,)
        yield from _linear(f"{block}.ffn.0", hidden, width)
        yield from _linear(f"{block}.ffn.2", width, hidden)
    yield "head.modulation", (1, 2, width)
    yield from _linear("head.head", 64, width)


def _next_dit(width: int, kv: int, hidden: int, time: int, head: int, layers: int) -> Iterator[tuple[str, Shape]]:
    """Lumina 2 and Z-Image: a NextDiT with refiners of noise and context."""
    modulation = min(time, 1024)
    for name, count, modulated in (("noise_refiner", 2, True), ("context_refiner", 2, False), ("layers", layers, True)):
        for number in range(count):
            block = f"{name}.{number}"
            yield f"{block}.attention.qkv.weight", (width + 2 * kv, width)
            yield f"{block}.attention.out.weight", (width, width)
            yield f"{block}.attention.q_norm.weight", (head,)
            yield f"{block}.attention.k_norm.weight", (head,)
            for letter, rows, columns in (("w1", hidden, width), ("w2", width, hidden), ("w3", hidden, width)):
                yield f"{block}.feed_forward.{letter}.weight", (rows, columns)
            for norm in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"):
                yield f"{block}.{norm}.weight", (width,)
            if modulated:
                place = "1" if kv != width else "0"
                yield from _linear(f"{block}.adaLN_modulation.{place}", 4 * width, modulation)


def _lumina2() -> Iterator[tuple[str, Shape]]:
    width = 2304
    yield from _linear("x_embedder", width, 64)
    yield from _next_dit(width, 768, 9216, 1024, 96, 26)
    yield from _linear("t_embedder.mlp.0", 1024, 256)
    yield from _linear("t_embedder.mlp.2", 1024, 1024)
    yield "cap_embedder.0.weight", (1024,)
    yield from _linear("cap_embedder.1", width, 1024)
    yield from _linear("final_layer.linear", 64, width)
    yield from _linear("final_layer.adaLN_modulation.1", width, 1024)


def _z_image() -> Iterator[tuple[str, Shape]]:
    width = 3840
    yield from _linear("x_embedder", width, 64)
    yield from _next_dit(width, width, 10240, 256, 128, 30)
    yield from _linear("t_embedder.mlp.0", 1024, 256)
    yield from _linear("t_embedder.mlp.2", 256, 1024)
    yield "cap_embedder.0.weight", (2560,)
    yield from _linear("cap_embedder.1", width, 2560)
    yield from _linear("final_layer.linear", 64, width)
    yield from _linear("final_layer.adaLN_modulation.1", width, 256)
    yield "x_pad_token", (1, width)
    yield "cap_pad_token", (1, width)


def _auraflow() -> Iterator[tuple[str, Shape]]:
    width, hidden = 3072, 8192
    yield "positional_encoding", (1, 1024, width)
    yield "register_tokens", (1, 8, width)
    yield from _linear("init_x_linear", width, 16)
    yield from _linear("t_embedder.mlp.0", width, 256)
    yield from _linear("t_embedder.mlp.2", width, width)
    yield "cond_seq_linear.weight", (width, 2048)
    for number in range(4):
        block = f"double_layers.{number}"
        for side in "12":
            for letter in "qkvo":
                yield f"{block}.attn.w{side}{letter}.weight", (width, width)
        for side in "XC":
            yield f"{block}.mod{side}.1.weight", (6 * width, width)
            yield f"{block}.mlp{side}.c_fc1.weight", (hidden, width)
            yield f"{block}.mlp{side}.c_fc2.weight", (hidden, width)
            yield f"{block}.mlp{side}.c_proj.weight", (width, hidden)
    for number in range(32):
        block = f"single_layers.{number}"
        for letter in "qkvo":
            yield f"{block}.attn.w1{letter}.weight", (width, width)
        yield f"{block}.modCX.1.weight", (6 * width, width)
        yield f"{block}.mlp.c_fc1.weight", (hidden, width)
        yield f"{block}.mlp.c_fc2.weight", (hidden, width)
        yield f"{block}.mlp.c_proj.weight", (width, hidden)
    yield "modF.1.weight", (2 * width, width)
    yield "final_linear.weight", (16, width)


def _sd3() -> Iterator[tuple[str, Shape]]:
    width, layers = 1536, 24
    yield "pos_embed", (1, 36864, width)
    yield "x_embedder.proj.weight", (width, 16, 2, 2)
    yield "x_embedder.proj.bias", (width,)
    yield from _linear("context_embedder", width, 4096)
    for name, read in (("t_embedder", 256), ("y_embedder", 2048)):
        yield from _linear(f"{name}.mlp.0", width, read)
        yield from _linear(f"{name}.mlp.2", width, width)
    for number in range(layers):
        last = number == layers - 1
        for side in ("x_block", "context_block"):
            block = f"joint_blocks.{number}.{side}"
            yield from _linear(f"{block}.attn.qkv", 3 * width, width)
            short = last and side == "context_block"
            yield from _linear(f"{block}.adaLN_modulation.1", (2 if short else 6) * width, width)
            if not short:
                yield from _linear(f"{block}.attn.proj", width, width)
                yield from _linear(f"{block}.mlp.fc1", 4 * width, width)
                yield from _linear(f"{block}.mlp.fc2", width, 4 * width)
    yield from _linear("final_layer.linear", 64, width)
    yield from _linear("final_layer.adaLN_modulation.1", 2 * width, width)


def _hunyuan_video() -> Iterator[tuple[str, Shape]]:
    width, head = 3072, 128
    yield "img_in.proj.weight", (width, 16, 1, 2, 2)
    yield "img_in.proj.bias", (width,)
    yield from _linear("txt_in.input_embedder", width, 4096)
    for name, read in (("txt_in.t_embedder.mlp.{}", 256), ("time_in.mlp.{}", 256), ("guidance_in.mlp.{}", 256)):
        yield from _linear(name.format(0), width, read)
        yield from _linear(name.format(2), width, width)
    yield from _linear("txt_in.c_embedder.linear_1", width, 4096)
    yield from _linear("txt_in.c_embedder.linear_2", width, width)
    yield from _linear("vector_in.in_layer", width, 768)
    yield from _linear("vector_in.out_layer", width, width)
    for number in range(2):
        block = f"txt_in.individual_token_refiner.blocks.{number}"
        for norm in ("norm1", "norm2"):
            yield f"{block}.{norm}.weight", (width,)
            yield f"{block}.{norm}.bias", (width,)
        yield from _linear(f"{block}.self_attn_qkv", 3 * width, width)
        yield from _linear(f"{block}.self_attn_proj", width, width)
        yield from _linear(f"{block}.mlp.fc1", 4 * width, width)
        yield from _linear(f"{block}.mlp.fc2", width, 4 * width)
        yield from _linear(f"{block}.adaLN_modulation.1", 2 * width, width)
    for number in range(20):
        for side in ("img", "txt"):
            block = f"double_blocks.{number}.{side}"
            yield from _linear(f"{block}_mod.linear", 6 * width, width)
            yield from _linear(f"{block}_attn_qkv", 3 * width, width)
            yield from _linear(f"{block}_attn_proj", width, width)
            yield f"{block}_attn_q_norm.weight", (head,)
            yield f"{block}_attn_k_norm.weight", (head,)
            yield from _linear(f"{block}_mlp.fc1", 4 * width, width)
            yield from _linear(f"{block}_mlp.fc2", width, 4 * width)
    for number in range(40):
        block = f"single_blocks.{number}"
        yield from _linear(f"{block}.linear1", 7 * width, width)
        yield from _linear(f"{block}.linear2", width, 5 * width)
        yield f"{block}.q_norm.weight", (head,)
        yield f"{block}.k_norm.weight", (head,)
        yield from _linear(f"{block}.modulation.linear", 3 * width, width)
    yield from _linear("final_layer.linear", 64, width)
    yield from _linear("final_layer.adaLN_modulation.1", 2 * width, width)


def _krea2_block(block: str, width: int, kv: int, hidden: int, head: int) -> Iterator[tuple[str, Shape]]:
    for name, rows, columns in (
        ("attn.wq", width, width), ("attn.wk", kv, width), ("attn.wv", kv, width), ("attn.wo", width, width),
        ("attn.gate", width, width), ("mlp.gate", hidden, width), ("mlp.up", hidden, width),
        ("mlp.down", width, hidden),
    ):  # fmt: skip
        yield f"{block}.{name}.weight", (rows, columns)
    yield f"{block}.attn.qknorm.qnorm.scale", (head,)
    yield f"{block}.attn.qknorm.knorm.scale", (head,)
    yield f"{block}.prenorm.scale", (width,)
    yield f"{block}.postnorm.scale", (width,)


def _krea2() -> Iterator[tuple[str, Shape]]:
    width, text = 6144, 2560
    yield from _linear("first", width, 64)
    yield from _linear("tmlp.0", width, 256)
    yield from _linear("tmlp.2", width, width)
    yield from _linear("tproj.1", 6 * width, width)
    yield "txtmlp.0.scale", (text,)
    yield from _linear("txtmlp.1", width, text)
    yield from _linear("txtmlp.3", width, width)
    yield "txtfusion.projector.weight", (1, 12)
    for name in ("layerwise_blocks", "refiner_blocks"):
        for number in range(2):
            yield from _krea2_block(f"txtfusion.{name}.{number}", text, text, 6912, 128)
    for number in range(28):
        yield from _krea2_block(f"blocks.{number}", width, 1536, 16384, 128)
        yield f"blocks.{number}.mod.lin", (6 * width,)
    yield "last.norm.scale", (width,)
    yield "last.modulation.lin", (2, width)
    yield from _linear("last.linear", 64, width)


_TABLES: dict[str, Callable[[], Iterator[tuple[str, Shape]]]] = {
    "flux1-bfl": _flux1,
    "flux2-bfl": _flux2,
    "chroma-comfyui": _chroma,
    "wan-14b-original": lambda: _wan(5120, 13824, 40),
    "wan-1.3b-original": lambda: _wan(1536, 8960, 30),
    "z-image-comfyui": _z_image,
    "lumina2-original": _lumina2,
    "auraflow-original": _auraflow,
    "sd3-medium-original": _sd3,
    "hunyuan-video-original": _hunyuan_video,
    "krea2-original": _krea2,
}


def original_table(name: str) -> dict[str, Shape]:
    """Every tensor of the file."""
    return dict(_TABLES[name]())
