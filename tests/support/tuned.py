"""Adapter files laid out on small modules and loaded into them, without a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from support.handles import lora_model

from recipe_runner.runtime.lora.file import Translated, translate
from recipe_runner.runtime.lora.tuners import Tuners


def translated(model: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path, **changes: Any) -> Translated:
    """A file of `tensors`, read and laid out on `model`."""
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    shapes = {
        name: tuple(module.weight.shape)
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), torch.Tensor)
    }
    return translate(lora_model(path, **changes), {"unet": shapes}, allow_pickle=False)


def loaded(model: torch.nn.Module, **files: Translated) -> Tuners:
    """The adapters of `files`, loaded into `model` and proved to be there."""
    tuners = Tuners(model)
    for name, file in files.items():
        tuners.add(name, file.parts["unet"])
        assert tuners.holds(name) == len(file.parts["unet"])
    return tuners
