"""Textual inversion rows of the loading guide: a recipe's pictures are those of the plain calls, bit for bit."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.torch import save_file
from support.embeddings import a1111, by_encoder, one_key, vectors
from support.loras import diffusers_file, factors
from support.parity import recipe_pictures, script_pictures
from support.plain import plain_pipeline

if TYPE_CHECKING:
    from pathlib import Path

ROWS = {
    "textual_inversion": """\
adapters:
  gta: {kind: textual_inversion, model: concept}
  cat: {kind: textual_inversion, model: ., weight_name: cat.bin, token: <cat-toy>}
prompts:
  - prompt: a red circle, <gta5-artwork> style
  - prompt: a <cat-toy> on a <gta5-artwork>, <cat-toy><cat-toy>
seeds: [1]
""",
    "textual_inversion_multi": """\
adapters:
  herge: {kind: textual_inversion, model: herge.safetensors, token: <Herge_Style>}
  bad: {kind: textual_inversion, model: bad-artist.pt}
  second: {kind: textual_inversion, model: bad-artist-2.pt}
prompts:
  - prompt: "a bear, <herge_STYLE>, bad-artist-2 and BAD-ARTIST, but not abad-artist or bad-artist3"
seeds: [1]
""",
    "negative_embedding": """\
adapters: {EasyNegative: {kind: textual_inversion, model: EasyNegative.safetensors, token: EasyNegative}}
prompts: [{prompt: a bear, negative_prompt: EasyNegative}]
seeds: [1]
""",
    "textual_inversion_sdxl": """\
adapters: {hat: {kind: textual_inversion, model: both.safetensors, token: <hat>}}
prompts: [{prompt: a bear with <hat>, prompt_2: <hat> on a circle, negative_prompt: blurry <hat>}]
seeds: [1]
""",
    "lora_tokens": """\
adapters: {style: {kind: lora, model: bundle.safetensors, scale: 0.6}}
prompts: [{prompt: "a bear, <s1><s2>"}]
seeds: [1]
""",
    "lora_and_embedding": """\
adapters:
  style: {kind: lora, model: style.safetensors, scale: {unet: 0.8, text_encoder: 0.5}}
  cat: {kind: textual_inversion, model: cat.bin, token: <cat-toy>}
  EasyNegative: {kind: textual_inversion, model: EasyNegative.safetensors, token: EasyNegative}
prompts: [{prompt: a red <cat-toy>, negative_prompt: "EasyNegative, blurry"}]
seeds: [1]
""",
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The embedding files of every row."""
    (tmp_path / "concept").mkdir()
    one_key(tmp_path / "concept" / "learned_embeds.safetensors", "<gta5-artwork>", vectors(1)[0])
    one_key(tmp_path / "concept" / "learned_embeds-step-500.safetensors", "<gta5-artwork>", vectors(11)[0])
    one_key(tmp_path / "cat.bin", "<cat>", vectors(2))
    a1111(tmp_path / "herge.safetensors", vectors(3, 4))
    a1111(tmp_path / "bad-artist.pt", vectors(4, 2), "bad-artist")
    a1111(tmp_path / "bad-artist-2.pt", vectors(5, 3), "bad-artist-2")
    a1111(tmp_path / "EasyNegative.safetensors", vectors(6, 8))
    by_encoder(tmp_path / "both.safetensors", vectors(7, 2), vectors(8, 2))
    return tmp_path


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_guide(row: str, files: Path, request: pytest.FixtureRequest) -> None:
    sdxl = row.endswith("sdxl")
    shutil.copytree(request.getfixturevalue("sdxl_folder" if sdxl else "sd15_folder"), files / "model")
    if sdxl:
        # As in the published configuration.
        config = files / "model" / "text_encoder_2" / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token_id": 2}))
    if row.startswith("lora"):
        style = diffusers_file(files / "style.safetensors", factors(plain_pipeline(files / "model"), 1))
        bundled = {"bundle_emb.<s1>.emb_params": vectors(9, 2), "bundle_emb.<s2>.emb_params": vectors(10)}
        save_file({**style, **bundled}, files / "bundle.safetensors")
    expected = script_pictures(files, row)
    steps = 50 if row == "negative_embedding" else 3
    overrides = ("runtime.allow_pickle=true", f"sampling.num_inference_steps={steps}")
    assert np.array_equal(recipe_pictures(files, ROWS[row], *overrides), expected)
    assert expected.std() > 5
