"""The tensors of true-size original checkpoints, and files of them that take no room on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from support.ldm import unet_key, vae_key
from transformers import CLIPTextConfig, CLIPTextModel

from recipe_runner.sources.bundled import bundled_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recipe_runner.weights.modules import Shape

Shapes = dict[str, "Shape"]


def original_shapes(family: str) -> Shapes:
    """The tensors of a checkpoint of `family` (sd1, sd2, sdxl), as CompVis's and Stability's code saved them."""
    config = bundled_config(family).root
    found: Shapes = {}
    with init_empty_weights():
        unet: Any = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(str(config / "unet")))
        vae: Any = AutoencoderKL.from_config(AutoencoderKL.load_config(str(config / "vae")))
    plain = tuple(number for number, kind in enumerate(unet.config.up_block_types) if kind == "UpBlock2D")
    for key, value in unet.state_dict().items():
        found[f"model.diffusion_model.{unet_key(key, unet.config.layers_per_block, plain)}"] = tuple(value.shape)
    for key, value in vae.state_dict().items():
        name = vae_key(key, len(vae.config.block_out_channels))
        flat = ".mid.attn_1." in name and name.endswith("weight") and value.ndim == 2
        found[f"first_stage_model.{name}"] = (*value.shape, 1, 1) if flat else tuple(value.shape)
    if family == "sd2":
        found |= _open_clip("cond_stage_model.model.", width=1024, layers=24)
    if family == "sd1":
        found |= _clip("cond_stage_model.transformer.", config)
    if family == "sdxl":
        found |= _clip("conditioner.embedders.0.transformer.", config)
        found |= _open_clip("conditioner.embedders.1.model.", width=1280, layers=32)
    return found


def _clip(prefix: str, config: Path) -> Shapes:
    with init_empty_weights():
        model = CLIPTextModel(CLIPTextConfig.from_pretrained(config / "text_encoder"))
    shapes = {
        f"{prefix}text_model.{key.removeprefix('text_model.')}": tuple(value.shape)
        for key, value in model.state_dict().items()
    }
    return shapes | {f"{prefix}text_model.embeddings.position_ids": (1, 77)}


def _open_clip(prefix: str, *, width: int, layers: int) -> Shapes:
    # open_clip's TextTransformer: fused projections, and the layer that Stable Diffusion 2 never reads.
    def tensors() -> Iterator[tuple[str, Shape]]:
        yield "positional_embedding", (77, width)
        yield "text_projection", (width, width)
        yield "logit_scale", ()
        yield "token_embedding.weight", (49408, width)
        for name in ("weight", "bias"):
            yield f"ln_final.{name}", (width,)
        for layer in range(layers):
            block = f"transformer.resblocks.{layer}"
            yield f"{block}.attn.in_proj_weight", (3 * width, width)
            yield f"{block}.attn.in_proj_bias", (3 * width,)
            for name, rows, columns in (
                ("attn.out_proj", width, width),
                ("mlp.c_fc", 4 * width, width),
                ("mlp.c_proj", width, 4 * width),
            ):
                yield f"{block}.{name}.weight", (rows, columns)
                yield f"{block}.{name}.bias", (rows,)
            for name in ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"):
                yield f"{block}.{name}", (width,)

    return {prefix + name: shape for name, shape in tensors()}
