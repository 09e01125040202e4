"""Textual inversion rows of the loading guide: a recipe's pictures are those of the plain calls, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from support.embeddings import a1111, by_encoder, one_key, vectors
from support.loras import diffusers_file, factors
from support.parity import HEAD, recipe_pictures, scripts_pictures
from support.plain import plain_pipeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
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


@pytest.fixture(scope="module")
def files(sd15_folder: Path, sdxl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models and files of every row."""
    folder = tmp_path_factory.mktemp("embeddings")
    (folder / "model").symlink_to(sd15_folder)
    shutil.copytree(sdxl_folder, folder / "sdxl")
    # As in the published configuration.
    config = folder / "sdxl" / "text_encoder_2" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token_id": 2}))
    (folder / "concept").mkdir()
    one_key(folder / "concept" / "learned_embeds.safetensors", "<gta5-artwork>", vectors(1)[0])
    one_key(folder / "concept" / "learned_embeds-step-500.safetensors", "<gta5-artwork>", vectors(11)[0])
    one_key(folder / "cat.bin", "<cat>", vectors(2))
    a1111(folder / "herge.safetensors", vectors(3, 4))
    a1111(folder / "bad-artist.pt", vectors(4, 2), "bad-artist")
    a1111(folder / "bad-artist-2.pt", vectors(5, 3), "bad-artist-2")
    a1111(folder / "EasyNegative.safetensors", vectors(6, 8))
    by_encoder(folder / "both.safetensors", vectors(7, 2), vectors(8, 2))
    style = diffusers_file(folder / "style.safetensors", factors(plain_pipeline(sd15_folder), 1))
    bundled = {"bundle_emb.<s1>.emb_params": vectors(9, 2), "bundle_emb.<s2>.emb_params": vectors(10)}
    save_file({**style, **bundled}, folder / "bundle.safetensors")
    return folder


@pytest.fixture(scope="module")
def plain(files: Path) -> dict[str, NDArray[np.uint8]]:
    """What the plain scripts make."""
    return scripts_pictures(files, list(ROWS))


OVERRIDES = {"negative_embedding": ["sampling.num_inference_steps=50"], "textual_inversion_sdxl": ["base.model=sdxl"]}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_guide(row: str, files: Path, plain: dict[str, NDArray[np.uint8]]) -> None:
    overrides = ["runtime.allow_pickle=true", *OVERRIDES.get(row, ())]
    assert np.array_equal(recipe_pictures(files, ROWS[row], *overrides), plain[row])
    assert plain[row].std() > 5


def test_the_hash_seed_decides_nothing(files: Path, plain: dict[str, NDArray[np.uint8]]) -> None:
    row = "textual_inversion_multi"
    (files / "seeds.yaml").write_text(HEAD + ROWS[row])
    for seed in ("1", "2"):
        runs = files / f"runs-{seed}"
        command = [sys.executable, "-m", "recipe_runner", "run", str(files / "seeds.yaml"), "--runs", str(runs)]
        command += ["--set", "runtime.allow_pickle=true"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        (image,) = (Path(done.stdout.splitlines()[-1]) / "images").iterdir()
        assert np.array_equal(np.asarray(Image.open(image))[None], plain[row])
