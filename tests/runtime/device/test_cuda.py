"""What a CUDA device must do: the same bits twice at level strict, noise from the CPU, pictures like the CPU's.

Skipped where there is no device. Nothing here compares bits between devices: no one promises those.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import ROOT, process
from support.embeddings import a1111, vectors
from support.ip_adapters import build_image_encoder, tiny_shapes, write_ip_adapter, write_mask, write_picture
from support.plain import plain_pipeline
from support.tiny import sd15_folder, sdxl_folder

import recipe_runner

if TYPE_CHECKING:
    from recipe_runner.actions.run import Run

__all__ = ["sd15_folder", "sdxl_folder"]

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

RECIPE = """\
recipe: 1
name: on-cuda
base: {{model: {model}}}
prompts: [{{id: bear, prompt: a red bear, negative_prompt: blurry}}]
seeds: [1, 2, 3]
sampling: {{num_inference_steps: 3, guidance_scale: 5.0, height: 16, width: 16}}
runtime: {{device: cuda}}
"""


def write(folder: Path, model: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(model=model))
    return path


def manifest(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_bytes())


def pixels(run: Run) -> list[np.ndarray[Any, Any]]:
    paths = [run.folder / image["path"] for image in manifest(run.folder)["images"]]
    return [np.asarray(Image.open(path)).astype(int) for path in paths]


@pytest.mark.parametrize("level", ["strict", "seeded", "fast"])
def test_every_level_runs_and_says_where(sd15_folder: Path, tmp_path: Path, level: str) -> None:
    run = recipe_runner.run_recipe(write(tmp_path, sd15_folder), [f"runtime.reproducibility={level}"])
    environment = manifest(run.folder)["environment"]
    assert environment["device"] == torch.cuda.get_device_name(0)
    assert environment["reproducibility"] == level
    if level == "strict":
        assert environment["determinism"]["cublas_workspace"] in (":4096:8", ":16:8")


def test_strict_gives_the_same_bits_in_two_processes(sd15_folder: Path, tmp_path: Path) -> None:
    recipe = write(tmp_path, sd15_folder)
    found = []
    for runs in ("one", "two"):
        answer = process("run", str(recipe), "--runs", runs)
        assert answer.status == 0, answer.err
        found.append([image["pixel_sha256"] for image in manifest(Path(answer.out.strip()))["images"]])
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_pictures_are_like_the_cpus(sd15_folder: Path, tmp_path: Path, dtype: str) -> None:
    recipe = write(tmp_path, sd15_folder)
    on_cuda = recipe_runner.run_recipe(recipe, [f"base.dtype={dtype}"], runs="cuda")
    on_cpu = recipe_runner.run_recipe(recipe, ["runtime.device=cpu"], runs="cpu")
    for one, other in zip(pixels(on_cuda), pixels(on_cpu), strict=True):
        assert np.abs(one - other).mean() < (1.0 if dtype == "float32" else 12.0)


def test_bases_are_swapped_on_the_device(sd15_folder: Path, sdxl_folder: Path, tmp_path: Path) -> None:
    recipe = write(tmp_path, sd15_folder)
    recipe.write_text(recipe.read_text() + f"matrix: {{base.model: [{sd15_folder}, {sdxl_folder}, {sd15_folder}/.]}}\n")
    run = recipe_runner.run_recipe(recipe)
    found = [image["pixel_sha256"] for image in manifest(run.folder)["images"]]
    assert found[:3] == found[6:]
    assert found[:3] != found[3:6]


def test_image_prompts_and_masks_are_like_the_cpus(sd15_folder: Path, tmp_path: Path) -> None:
    write_ip_adapter(tmp_path / "look.safetensors", tiny_shapes("plus", plain_pipeline(sd15_folder).unet), 1)
    build_image_encoder(tmp_path / "image_encoder")
    write_picture(tmp_path / "bear.png", 1)
    write_mask(tmp_path / "left.png", left=True)
    recipe = write(tmp_path, sd15_folder)
    look = "{kind: ip_adapter, model: look.safetensors, image: bear.png, mask: left.png, scale: 0.6}"
    recipe.write_text(recipe.read_text() + f"adapters: {{look: {look}}}\n")
    on_cuda = [recipe_runner.run_recipe(recipe, runs=runs) for runs in ("one", "two")]
    on_cpu = recipe_runner.run_recipe(recipe, ["runtime.device=cpu"], runs="cpu")
    shas = [[image["pixel_sha256"] for image in manifest(run.folder)["images"]] for run in on_cuda]
    assert shas[0] == shas[1]
    for one, other in zip(pixels(on_cuda[0]), pixels(on_cpu), strict=True):
        assert np.abs(one - other).mean() < 1.0


def test_learned_tokens_are_like_the_cpus(sd15_folder: Path, tmp_path: Path) -> None:
    a1111(tmp_path / "easy.safetensors", vectors(6, 8))
    recipe = write(tmp_path, sd15_folder)
    easy = "{kind: textual_inversion, model: easy.safetensors, token: EasyNegative}"
    recipe.write_text(recipe.read_text().replace("blurry", "easynegative") + f"adapters: {{easy: {easy}}}\n")
    on_cuda = [recipe_runner.run_recipe(recipe, runs=runs) for runs in ("one", "two")]
    on_cpu = recipe_runner.run_recipe(recipe, ["runtime.device=cpu"], runs="cpu")
    shas = [[image["pixel_sha256"] for image in manifest(run.folder)["images"]] for run in on_cuda]
    assert shas[0] == shas[1]
    for one, other in zip(pixels(on_cuda[0]), pixels(on_cpu), strict=True):
        assert np.abs(one - other).mean() < 1.0


def test_a_device_that_is_not_there(sd15_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(recipe_runner.RecipeRunnerError) as caught:
        recipe_runner.run_recipe(write(tmp_path, sd15_folder), ["runtime.device=cuda:99"])
    assert caught.value.problems[0].code == "E701"
    assert "cuda:0" in caught.value.problems[0].message


def test_too_little_memory_is_told_and_what_was_finished_is_kept(sd15_folder: Path, tmp_path: Path) -> None:
    recipe = write(tmp_path, sd15_folder)
    recipe.write_text(recipe.read_text() + "matrix: {sampling.height: [16, 16384], sampling.width: [16, 16384]}\n")
    code = (
        "import torch; torch.cuda.set_per_process_memory_fraction(0.02)\n"
        "from recipe_runner.cli.main import main\n"
        f"raise SystemExit(main(['run', {str(recipe)!r}, '--set', 'runtime.reproducibility=seeded']))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 3
    assert "error[E703]" in answer.stderr
    (folder,) = Path("runs/on-cuda").iterdir()
    assert len(manifest(folder)["images"]) >= 3
