"""Module tables of real architectures, read from diffusers' and transformers' own classes without any memory."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import recipe_runner
from recipe_runner.weights.modules import ModuleTable, Shape

CONFIGS = Path(recipe_runner.__file__).parent / "sources/configs"
SHARED = Path(__file__).parents[3] / "shared" / "data"


def modules_of(model: torch.nn.Module) -> dict[str, Shape]:
    """Name and weight shape of every module with a weight."""
    return {
        name: tuple(module.weight.shape)
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), torch.Tensor)
    }


def _config(family: str, part: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CONFIGS / family / part / "config.json").read_text())
    return read


def unet(family: str) -> UNet2DConditionModel:
    """The UNet of `family`, on the meta device."""
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(_config(family, "unet"))


@cache
def table(family: str) -> ModuleTable:
    """The module table of sd1, sd2, sdxl, and of Flux and SD 3 with two blocks of each sort."""
    with torch.device("meta"):
        if family == "flux1":
            flux = FluxTransformer2DModel(num_layers=2, num_single_layers=2, guidance_embeds=True)
            clip = CLIPTextModel(CLIPTextConfig(**_config("sd1", "text_encoder")))
            return {"transformer": modules_of(flux), "text_encoder": modules_of(clip)}
        if family == "sd3":
            return {"transformer": modules_of(SD3Transformer2DModel(num_layers=2))}
        found = {"unet": modules_of(unet(family))}
        first = CLIPTextModel(CLIPTextConfig(**_config(family, "text_encoder")))
        found["text_encoder"] = modules_of(first)
        if family == "sdxl":
            second = CLIPTextModelWithProjection(CLIPTextConfig(**_config(family, "text_encoder_2")))
            found["text_encoder_2"] = modules_of(second)
        return found
