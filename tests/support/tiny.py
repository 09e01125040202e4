"""Real pipelines made tiny: Stable Diffusion 1.5, SDXL, Stable Diffusion 3 and Flux, random weights under a fixed seed.

Each `build_…` function writes a folder that `from_pretrained` loads; each `…_folder` fixture makes it once a session.
Pictures are 16x16 or 32x32 pixels and a denoising step takes milliseconds on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

WORDS = (
    "a",
    "red",
    "blue",
    "green",
    "circle",
    "square",
    "on",
    "white",
    "bear",
    "pizza",
    "film",
    "photo",
    "of",
    "blurry",
)
"""Words that are one token; everything else is spelled in bytes."""
LENGTH = 20
"""Tokens that the tiny CLIP tokenizers take."""


def _byte_letters() -> list[str]:
    # The printable stand-ins that byte-level BPE uses for the 256 bytes, in the order of CLIP's vocabulary.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def clip_tokenizer() -> CLIPTokenizer:
    """A byte-level BPE tokenizer of CLIP's kind with a few whole words."""
    letters = _byte_letters()
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        left = word[0]
        for index in range(1, len(word)):
            right = word[index] + ("</w>" if index == len(word) - 1 else "")
            if (left, right) not in merges:
                merges.append((left, right))
                pieces.append(left + right)
            left += right
    pieces = [*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)


def t5_tokenizer() -> T5Tokenizer:
    """A unigram tokenizer of T5's kind: whole words and single letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0)]
    pieces += [("▁" + word, -2.0) for word in WORDS]
    pieces += [("▁", -3.0), *((chr(code), -5.0) for code in range(ord("!"), ord("~") + 1))]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=32)


def _text_config(tokenizer: CLIPTokenizer, hidden: int, **changes: Any) -> CLIPTextConfig:
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": hidden * 2,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "projection_dim": hidden,
        "max_position_embeddings": LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPTextConfig(**{**settings, **changes})


def _vae(latent_channels: int = 4, **changes: Any) -> AutoencoderKL:
    settings: dict[str, Any] = {
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
        "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
        "latent_channels": latent_channels,
        "layers_per_block": 1,
    }
    return AutoencoderKL(**{**settings, **changes})


def unet(cross_attention_dim: int = 32, **changes: Any) -> UNet2DConditionModel:
    """A UNet of two levels with attention in the lower one."""
    settings: dict[str, Any] = {
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 4,
        "norm_num_groups": 8,
        "cross_attention_dim": cross_attention_dim,
    }
    return UNet2DConditionModel(**{**settings, **changes})


def build_sd15(folder: Path, seed: int = 0) -> Path:
    """Write a tiny pipeline of Stable Diffusion 1.5's architecture."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = clip_tokenizer()
        StableDiffusionPipeline(
            vae=_vae(),
            text_encoder=CLIPTextModel(_text_config(tokenizer, 32)),
            tokenizer=tokenizer,
            unet=unet(),
            scheduler=DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)
    return folder


def build_sdxl(folder: Path, seed: int = 1) -> Path:
    """Write a tiny pipeline of SDXL's architecture."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = clip_tokenizer()
        StableDiffusionXLPipeline(
            vae=_vae(),
            text_encoder=CLIPTextModel(_text_config(tokenizer, 32, hidden_act="gelu")),
            text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizer, 32, hidden_act="gelu")),
            tokenizer=tokenizer,
            tokenizer_2=clip_tokenizer(),
            unet=unet(
                64,
                transformer_layers_per_block=(1, 2),
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + 32,
            ),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading"
            ),
        ).save_pretrained(folder)
    return folder


def _t5() -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(t5_tokenizer()),
        d_model=32,
        d_ff=37,
        d_kv=8,
        num_heads=4,
        num_layers=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    return T5EncoderModel(config)


def build_sd3(folder: Path, seed: int = 2, **transformer: Any) -> Path:
    """Write a tiny pipeline of Stable Diffusion 3's architecture."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = clip_tokenizer()
        StableDiffusion3Pipeline(
            transformer=SD3Transformer2DModel(
                sample_size=8,
                patch_size=1,
                in_channels=8,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=4,
                caption_projection_dim=32,
                joint_attention_dim=32,
                pooled_projection_dim=32,
                out_channels=8,
                **transformer,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=_vae(8, shift_factor=0.06, scaling_factor=1.53, use_quant_conv=False, use_post_quant_conv=False),
            text_encoder=CLIPTextModelWithProjection(_text_config(tokenizer, 16)),
            tokenizer=tokenizer,
            text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizer, 16)),
            tokenizer_2=clip_tokenizer(),
            text_encoder_3=_t5(),
            tokenizer_3=t5_tokenizer(),
        ).save_pretrained(folder)
    return folder


def build_flux(folder: Path, seed: int = 3, num_layers: int = 1) -> Path:
    """Write a tiny pipeline of Flux's architecture, with so many double blocks."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = clip_tokenizer()
        FluxPipeline(
            transformer=FluxTransformer2DModel(
                patch_size=1,
                in_channels=16,
                num_layers=num_layers,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=32,
                pooled_projection_dim=32,
                axes_dims_rope=[4, 4, 8],
                guidance_embeds=True,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=_vae(4, shift_factor=0.1159, scaling_factor=0.3611, use_quant_conv=False, use_post_quant_conv=False),
            text_encoder=CLIPTextModel(_text_config(tokenizer, 32)),
            tokenizer=tokenizer,
            text_encoder_2=_t5(),
            tokenizer_2=t5_tokenizer(),
        ).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sd15_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion 1.5 folder. Read only: copy it to change it."""
    return build_sd15(tmp_path_factory.mktemp("sd15") / "model")


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SDXL folder. Read only: copy it to change it."""
    return build_sdxl(tmp_path_factory.mktemp("sdxl") / "model")


@pytest.fixture(scope="session")
def sd3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion 3 folder. Read only: copy it to change it."""
    return build_sd3(tmp_path_factory.mktemp("sd3") / "model")


@pytest.fixture(scope="session")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Flux folder. Read only: copy it to change it."""
    return build_flux(tmp_path_factory.mktemp("flux") / "model")
