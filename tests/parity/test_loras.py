"""LoRA rows of the loading guide: a recipe's pictures are those of the plain calls, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.torch import save_file
from support import lycoris as kinds
from support.loras import diffusers_file, factors, kohya_file, sgm_file
from support.parity import recipe_pictures, script_pictures
from support.plain import plain_pipeline

from recipe_runner import api

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
    "merge": """\
adapters:
  both: {kind: merge, adapters: [style, other], weights: [0.7, 0.3], combination_type: cat, scale: 0.8}
  style: {kind: lora, model: style.safetensors}
  other: {kind: lora, model: other.safetensors}
prompts: [{prompt: a red star}]
seeds: [1]
""",
    "kohya": """\
adapters: {style: {kind: lora, model: kohya.safetensors, scale: 0.6}}
prompts: [{prompt: a red star}]
seeds: [1]
""",
}
ROWS["lora_scale"] = """\
adapters: {style: {kind: lora, model: style.safetensors}}
prompts: [{prompt: a red star}]
seeds: [1]
matrix: {adapters.style.scale: [0.0, 0.5, 1.0, 1.7, -0.8]}
"""
BLOCKS = """\
adapters:
  style:
    kind: lora
    model: style.safetensors
    scale: {text_encoder: 0.5, text_encoder_2: 0.4, unet: {down: 0.9, up: {block_0: [0.4, 0.8]}}}
prompts: [{prompt: a red star}]
seeds: [1]
"""
METHODS = """\
adapters:
  both: {kind: merge, adapters: [style, flat], weights: [0.7, 0.4]}
  style: {kind: lora, model: style.safetensors}
  flat: {kind: lora, model: flat.safetensors}
prompts: [{prompt: a red star}]
seeds: [1]
matrix:
  adapters.both:
    - {kind: merge, adapters: [style, flat], weights: [0.7, 0.4], combination_type: linear}
    - {kind: merge, adapters: [style, flat], weights: [0.7, 0.4], combination_type: svd, svd_rank: 4}
    - {kind: merge, adapters: [style, flat], weights: [0.7, 0.4], combination_type: ties, density: 0.5}
"""
LYCORIS = """\
adapters: {style: {kind: lora, model: lycoris.safetensors, scale: 0.6}}
prompts: [{prompt: a red star}]
seeds: [1]
"""
SGM = """\
adapters: {style: {kind: lora, model: sgm.safetensors, scale: 0.6}}
prompts: [{prompt: a red star}]
seeds: [1]
"""


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_guide(row: str, sd15_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(sd15_folder)
    pipeline = plain_pipeline(sd15_folder)
    made = factors(pipeline, 1)
    diffusers_file(tmp_path / "style.safetensors", made)
    # Without an out_proj, diffusers drops the text encoder's attentions. Ratios of alpha and rank are powers of two, so
    # that baking one in is exact to the bit.
    kohya = factors(pipeline, 1, ends=("to_q", "to_v", "conv1", "proj_in", "q_proj", "out_proj", "fc1"))
    alphas = {module: (1.0, 4.0, 8.0)[number % 3] for number, module in enumerate(kohya)}
    kohya_file(tmp_path / "kohya.safetensors", kohya, alphas)
    diffusers_file(tmp_path / "other.safetensors", factors(pipeline, 2, rank=2))
    expected = script_pictures(tmp_path, row)
    assert np.array_equal(recipe_pictures(tmp_path, ROWS[row]), expected)
    assert expected.std() > 5


def test_an_exported_adapter_in_plain_diffusers(sd15_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(sd15_folder)
    made = factors(plain_pipeline(sd15_folder), 1)
    kohya_file(tmp_path / "kohya.safetensors", made, dict.fromkeys(made, 2.0))
    recipe = (
        "adapters: {style: {kind: lora, model: kohya.safetensors, target: unet}}\nprompts: [{prompt: a red star}]\n"
    )
    pictures = recipe_pictures(tmp_path, f"{recipe}seeds: [1]\n")
    prepared = api.prepare(tmp_path / "parity.yaml")
    api.export_adapter(prepared, "style", tmp_path / "exported.safetensors", component="unet")
    assert np.array_equal(pictures, script_pictures(tmp_path, "export"))


def test_sdxl_under_the_original_code_s_names(sdxl_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(sdxl_folder)
    pipeline = plain_pipeline(sdxl_folder)
    made = factors(pipeline, 1, ("unet", "text_encoder", "text_encoder_2"), ends=("to_q", "to_v", "proj_in", "fc1"))
    sgm_file(tmp_path / "sgm.safetensors", made, pipeline.unet, alpha=2.0)
    expected = script_pictures(tmp_path, "sgm")
    assert np.array_equal(recipe_pictures(tmp_path, SGM), expected)


def test_a_scale_for_each_block_and_both_text_encoders(sdxl_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(sdxl_folder)
    made = factors(plain_pipeline(sdxl_folder), 1, ("unet", "text_encoder", "text_encoder_2"))
    diffusers_file(tmp_path / "style.safetensors", made)
    assert np.array_equal(recipe_pictures(tmp_path, BLOCKS), script_pictures(tmp_path, "lora_blocks"))


def test_merges_by_peft_s_methods(sd15_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(sd15_folder)
    pipeline = plain_pipeline(sd15_folder)
    for seed, name in enumerate(("style", "flat"), 1):
        diffusers_file(tmp_path / f"{name}.safetensors", factors(pipeline, seed, ("unet",), ends=("to_q", "to_v")))
    expected = script_pictures(tmp_path, "merge_methods")
    assert np.array_equal(recipe_pictures(tmp_path, METHODS), expected)
    assert len(np.unique(expected, axis=0)) == len(expected)


def test_lycoris_by_its_formulas(sd15_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(sd15_folder)
    unet = plain_pipeline(sd15_folder).unet
    ends = {
        "to_q": kinds.loha,
        "to_k": kinds.lokr("whole", "factors"),
        "to_v": kinds.dora(kinds.lora, 0),
        "conv1": kinds.full,
        "norm1": kinds.norm,
    }
    changed = {name: make for end, make in ends.items() for name, _ in unet.named_modules() if name.endswith(end)}
    tensors, _ = kinds.file_of(changed, unet, 1, size=0.3)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, tmp_path / "lycoris.safetensors")
    expected = script_pictures(tmp_path, "lycoris_kinds")
    assert np.array_equal(recipe_pictures(tmp_path, LYCORIS), expected)
    assert not np.array_equal(recipe_pictures(tmp_path, LYCORIS, "adapters.style.scale=0.0"), expected)
