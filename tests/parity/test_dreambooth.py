"""The DreamBooth row of the loading guide: a recipe's pictures are those of the plain calls, bit for bit."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file
from support.ldm import sd1_checkpoint
from support.parity import recipe_pictures, script_pictures
from support.plain import plain_pipeline
from support.tiny import build_sd15

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = """\
prompts: [{prompt: a red sks bear}]
seeds: [1]
matrix:
  base:
    - {model: dreambooth}
    - {model: dreambooth.safetensors, config: config, pipeline: StableDiffusionPipeline}
    - {model: dreambooth.ckpt, config: config, pipeline: StableDiffusionPipeline}
"""


def test_a_fine_tuned_model_is_a_base(sd15_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(sd15_folder)
    build_sd15(tmp_path / "dreambooth", seed=11)
    shutil.copytree(tmp_path / "dreambooth", tmp_path / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = sd1_checkpoint(plain_pipeline(tmp_path / "dreambooth"))
    save_file(tensors, tmp_path / "dreambooth.safetensors")
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "dreambooth.ckpt")
    expected = script_pictures(tmp_path, "dreambooth")
    found = recipe_pictures(tmp_path, RECIPE, "runtime.allow_pickle=true")
    assert np.array_equal(found, expected)
    assert expected.std() > 5
