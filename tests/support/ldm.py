"""Pipelines as the one-file checkpoints that the original training code would have left."""

from __future__ import annotations

import re
from typing import Any

import torch

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_VAE = (
    (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0", lambda _: "mid.attn_1"),
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"group_norm", "norm"),
    (r"to_([qkv])\b", r"\1"),
    (r"to_out\.0", "proj_out"),
)
_OPEN_CLIP = {
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
}


def unet_key(key: str, layers: int = 1, plain_ups: tuple[int, ...] = ()) -> str:
    """The original code's name of a UNet parameter; `plain_ups` are the upper blocks without attention."""
    for ours, theirs in _UNET_ENDS.items():
        if key.startswith(ours + "."):
            return _inner(theirs + key[len(ours) :])
    match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", key)
    assert match, key
    side, block, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if side == "down":
        number = 1 + block * (layers + 1) + (index if kind != "downsamplers" else layers)
        place = {"resnets": "0", "attentions": "1", "downsamplers": "0"}[kind]
        rest = rest.replace("conv.", "op.") if kind == "downsamplers" else rest
        return _inner(f"input_blocks.{number}.{place}.{rest}")
    number = block * (layers + 1) + (index if kind != "upsamplers" else layers)
    place = {"resnets": "0", "attentions": "1", "upsamplers": "1" if block in plain_ups else "2"}[kind]
    return _inner(f"output_blocks.{number}.{place}.{rest}")


def _inner(key: str) -> str:
    if "transformer_blocks" in key:
        # These have norms of their own, with the same names on both sides.
        return key
    for ours, theirs in _RESNET.items():
        key = re.sub(rf"(?<=\.){ours}(?=\.)", theirs, key)
    return key


def vae_key(key: str, levels: int = 2) -> str:
    """The original code's name of a parameter of a VAE with so many levels."""
    ups = (
        (r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}"),
        (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample"),
    )
    for pattern, replacement in (*ups, *_VAE):
        key = re.sub(pattern, replacement, key)
    return key


def image_tensors(pipeline: Any) -> dict[str, torch.Tensor]:
    """The parameters of a pipeline's UNet and VAE, under the names of a one-file checkpoint."""
    layers = pipeline.unet.config.layers_per_block
    found = {f"model.diffusion_model.{unet_key(k, layers)}": v for k, v in pipeline.unet.state_dict().items()}
    for key, value in pipeline.vae.state_dict().items():
        name = vae_key(key)
        flat = ".mid.attn_1." in name and name.endswith("weight") and value.ndim == 2 and ".norm" not in name
        found[f"first_stage_model.{name}"] = value[:, :, None, None] if flat else value
    return {key: value.contiguous().clone() for key, value in found.items()}


def sd1_checkpoint(pipeline: Any) -> dict[str, torch.Tensor]:
    """All parameters of a Stable Diffusion 1 pipeline, under the names of a one-file checkpoint."""
    found = image_tensors(pipeline)
    text = pipeline.text_encoder.state_dict()
    found |= {f"cond_stage_model.transformer.text_model.{k.removeprefix('text_model.')}": v for k, v in text.items()}
    return {key: value.contiguous().clone() for key, value in found.items()}


def open_clip_tensors(encoder: Any, prefix: str) -> dict[str, torch.Tensor]:
    """A CLIP text encoder's parameters as open_clip names and fuses them."""
    state = {key.removeprefix("text_model."): value for key, value in encoder.state_dict().items()}
    found = {
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        **{f"ln_final.{name}": state[f"final_layer_norm.{name}"] for name in ("weight", "bias")},
    }
    if "text_projection.weight" in state:
        # open_clip multiplies from the other side.
        found["text_projection"] = state["text_projection.weight"].T
    for layer in range(encoder.config.num_hidden_layers):
        own, theirs = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for name in ("weight", "bias"):
            fused = [state[f"{own}.self_attn.{part}_proj.{name}"] for part in "qkv"]
            found[f"{theirs}.attn.in_proj_{name}"] = torch.cat(fused)
            for mine, other in _OPEN_CLIP.items():
                found[f"{theirs}.{other}.{name}"] = state[f"{own}.{mine}.{name}"]
    return {prefix + key: value.contiguous().clone() for key, value in found.items()}
