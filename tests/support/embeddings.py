"""Textual inversion files with random vectors under a seed, in every layout that is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path


def vectors(seed: int, count: int = 1, width: int = 32) -> torch.Tensor:
    """[count, width]; large beside the rows of a random encoder, so that a picture shows them."""
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 0.5


def one_key(path: Path, token: str, value: torch.Tensor) -> Path:
    """The layout of diffusers; pickled where the name ends in `.bin`."""
    tensors = {token: value}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


def a1111(path: Path, value: torch.Tensor, name: str = "") -> Path:
    """A1111's layout: `emb_params` in safetensors; pickled, with its name, where the path ends in `.pt`."""
    if path.suffix == ".safetensors":
        save_file({"emb_params": value}, path)
    else:
        tree = {"string_to_token": {"*": 265}, "string_to_param": {"*": value}, "name": name, "step": 100}
        torch.save({**tree, "sd_checkpoint": None, "sd_checkpoint_name": None}, path)
    return path


def by_encoder(path: Path, first: torch.Tensor, second: torch.Tensor) -> Path:
    """SDXL's layout."""
    save_file({"clip_l": first, "clip_g": second}, path)
    return path
