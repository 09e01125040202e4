"""Components of a pipeline are compared by their configurations: widths that are known and differ do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from recipe_runner.pipelines.component_fit import ComponentConfig, misfits


def found(**configs: dict[str, Any]) -> list[str]:
    parts = {}
    for name, config in configs.items():
        parts[name] = ComponentConfig(str(config.get("class", name)), config)
    return list(misfits(parts))


CLIP = {"hidden_size": 768, "projection_dim": 768}
BIG_CLIP = {"hidden_size": 1280, "projection_dim": 1280}
T5 = {"d_model": 4096}
SD3 = {"joint_attention_dim": 4096, "pooled_projection_dim": 2048}
FLUX = {"class": "FluxTransformer2DModel", "in_channels": 64, "joint_attention_dim": 4096, "pooled_projection_dim": 768}


@pytest.mark.parametrize(
    "configs",
    [
        {"vae": {"latent_channels": 4}, "unet": {"in_channels": 4}},
        {"vae": {"latent_channels": 16}, "transformer": FLUX, "text_encoder": CLIP, "text_encoder_2": T5},
        {"text_encoder": CLIP, "text_encoder_2": BIG_CLIP, "unet": {"cross_attention_dim": 2048}},
        {"text_encoder": CLIP, "text_encoder_2": BIG_CLIP, "text_encoder_3": T5, "transformer": SD3},
        {"text_encoder": CLIP, "unet": {"cross_attention_dim": 1024, "encoder_hid_dim": 768}},
        {"text_encoder": {}, "text_encoder_2": BIG_CLIP, "unet": {"cross_attention_dim": 2048}},
        {"vae": {"latent_channels": True}, "unet": {"in_channels": 4}},
        {"vae": {"latent_channels": 4}, "unet": {}},
        {"text_encoder": CLIP, "text_encoder_2": BIG_CLIP, "transformer": {"pooled_projection_dim": 1}},
        {},
    ],
)
def test_components_that_fit_or_say_too_little(configs: dict[str, dict[str, Any]]) -> None:
    assert found(**configs) == []


@pytest.mark.parametrize(
    ("configs", "sentence"),
    [
        (
            {"vae": {"latent_channels": 16}, "unet": {"in_channels": 4}},
            "vae and unet do not fit: 16 latent channels from vae, but in_channels 4 in unet",
        ),
        (
            {"vae": {"latent_channels": 4}, "transformer": FLUX},
            "vae and transformer do not fit: 16 packed latent channels from vae, but in_channels 64 in transformer",
        ),
        (
            {"text_encoder": CLIP, "unet": {"cross_attention_dim": 1024}},
            (
                "the text encoders and unet do not fit: 768 features from the text encoders, "
                "but cross_attention_dim 1024 in unet"
            ),
        ),
        (
            {"text_encoder": CLIP, "text_encoder_2": {"d_model": 2048}, "transformer": FLUX},
            (
                "the T5 encoder and transformer do not fit: 2048 features from the T5 encoder, "
                "but joint_attention_dim 4096 in transformer"
            ),
        ),
        (
            {"text_encoder": CLIP, "text_encoder_2": CLIP, "text_encoder_3": T5, "transformer": SD3},
            (
                "the text encoders and transformer do not fit: 1536 pooled features from the text encoders, "
                "but pooled_projection_dim 2048 in transformer"
            ),
        ),
    ],
)
def test_widths_that_differ(configs: dict[str, dict[str, Any]], sentence: str) -> None:
    assert found(**configs) == [sentence]
