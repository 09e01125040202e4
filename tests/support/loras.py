"""LoRA files for the tiny pipelines, with random factors under a seed, in the layouts of two trainers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from support.module_tables import modules_of

from recipe_runner.weights.lora.sgm_names import sgm_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ENDS: Mapping[str, Sequence[str]] = {
    "unet": ("to_q", "to_v", "conv1", "proj_in", "time_emb_proj"),
    "text_encoder": ("q_proj", "fc1"),
    "text_encoder_2": ("q_proj",),
    "transformer": ("to_q", "to_v", "x_embedder"),
}
"""Ends of the names of the modules that the test LoRAs change: linear layers and convolutions."""


def factors(
    pipeline: Any,
    seed: int,
    parts: Sequence[str] = ("unet", "text_encoder"),
    rank: int = 4,
    size: float = 0.3,
    ends: Sequence[str] = (),
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """`component.module` to its (down, up), of the modules whose names have those `ends` (or ENDS)."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for part in parts:
        for name, module in getattr(pipeline, part).named_modules():
            if name.endswith(tuple(ends or ENDS[part])):
                weight = module.weight
                down = torch.randn(rank, *weight.shape[1:], generator=generator) * size
                up = torch.randn(weight.shape[0], rank, *(1 for _ in weight.shape[2:]), generator=generator) * size
                found[f"{part}.{name}"] = (down, up)
    return found


def diffusers_file(path: Path, made: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Write the layout of diffusers' trainers; returns the tensors."""
    tensors = {}
    for module, (down, up) in made.items():
        tensors[f"{module}.lora_A.weight"] = down
        tensors[f"{module}.lora_B.weight"] = up
    save_file(tensors, path)
    return tensors


def kohya_file(
    path: Path, made: Mapping[str, tuple[torch.Tensor, torch.Tensor]], alphas: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """Write the layout of Kohya's trainer for SD 1.5, with an alpha for each module."""
    tensors = {}
    for module, (down, up) in made.items():
        part, _, name = module.partition(".")
        prefix = "lora_unet_" if part == "unet" else "lora_te_text_model_"
        stem = prefix + name.removeprefix("text_model.").replace(".", "_")
        tensors[f"{stem}.lora_down.weight"] = down
        tensors[f"{stem}.lora_up.weight"] = up
        tensors[f"{stem}.alpha"] = torch.tensor(alphas[module])
    save_file(tensors, path)
    return tensors


def sgm_file(
    path: Path, made: Mapping[str, tuple[torch.Tensor, torch.Tensor]], unet: torch.nn.Module, alpha: float
) -> None:
    """Write Kohya's layout for SDXL, the UNet's modules under the names of the original code."""
    original = {module: name for name, module in sgm_names(modules_of(unet))}
    prefixes = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}
    tensors = {}
    for place, (down, up) in made.items():
        part, _, module = place.partition(".")
        name = original[module] if part == "unet" else f"text_model.{module.removeprefix('text_model.')}"
        stem = f"{prefixes[part]}_{name.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"], tensors[f"{stem}.lora_up.weight"] = down, up
        tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
