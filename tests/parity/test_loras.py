"""LoRA rows of the loading guide: a recipe's pictures are those of the plain calls, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.loras import diffusers_file, factors
from support.parity import recipe_pictures, script_pictures
from support.plain import plain_pipeline

if TYPE_CHECKING:
    from pathlib import Path

ROWS = {
    "lora": """\
adapters: {style: {kind: lora, model: ., weight_name: style.safetensors, scale: 0.6}}
prompts: [{prompt: a red star}]
seeds: [1, 2]
""",
    "lora_unet": """\
adapters: {style: {kind: lora, model: style.safetensors, target: unet}}
prompts: [{prompt: a red star}]
seeds: [1]
""",
    "loras": """\
adapters:
  style: {kind: lora, model: style.safetensors, scale: 0.7}
  other:
    kind: lora
    model: other.safetensors
    scale: {unet: {down: 0.9, mid: -0.5, up: {block_0: [0.4, 0.8]}}, text_encoder: 0.5}
prompts: [{prompt: a red star}]
seeds: [1]
""",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_guide(row: str, sd15_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(sd15_folder)
    pipeline = plain_pipeline(sd15_folder)
    diffusers_file(tmp_path / "style.safetensors", factors(pipeline, 1))
    diffusers_file(tmp_path / "other.safetensors", factors(pipeline, 2, rank=2))
    expected = script_pictures(tmp_path, row)
    assert np.array_equal(recipe_pictures(tmp_path, ROWS[row]), expected)
    assert expected.std() > 5
