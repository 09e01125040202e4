"""Exported scripts with IP-Adapters of Flux and Stable Diffusion 3 make the pixels of a run, or say why they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from support.command import call
from support.ip_adapters import (
    TINY_FLUX,
    TINY_SD3,
    build_image_encoder,
    build_siglip,
    flux_shapes,
    sd3_shapes,
    write_ip_adapter,
    write_picture,
)
from support.tiny import _one_thread, build_flux, build_sd3

import recipe_runner

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["_one_thread"]

HEAD = "recipe: 1\nruntime: {device: cpu, threads: 1}\nprompts: [{prompt: a bear, negative_prompt: blurry}]\n"
FLUX = "base: {model: flux}\nsampling: {num_inference_steps: 2, height: 16, width: 24, true_cfg_scale: 2.0}\n"
SD3 = "base: {model: sd3}\nsampling: {num_inference_steps: 2, guidance_scale: 4.0}\n"
LOOK = "{kind: ip_adapter, model: flux.safetensors, image_encoder: {model: clip}"
CAT = "{kind: ip_adapter, model: sd3.safetensors, image_encoder: {model: siglip}"

RECIPES = {
    "flux-pictures": f"{FLUX}adapters:\n  look: {LOOK}, image: [bear.png, other.png]}}\n"
    "matrix: {adapters.look.scale: [0.0, 0.5, {transformer_blocks: {block_1: 0.7}}]}\n",
    "flux-several": f"{FLUX}adapters:\n  look: {LOOK}, image: bear.png, scale: 0.7}}\n"
    f"  more: {LOOK}, image: other.png, scale: {{transformer_blocks: [0.0, 1.0]}}}}\n",
    "flux-embeds": f"{FLUX}adapters:\n  look: {LOOK}, image_embeds: flux-pair.npy}}\n",
    "flux-unguided": f"{FLUX}adapters:\n  look: {LOOK}, image_embeds: flux-pair.npy}}\n"
    "matrix: {sampling.true_cfg_scale: [1.0]}\n",
    "sd3-pictures": f"{SD3}adapters:\n  look: {CAT}, image: bear.png}}\nmatrix: {{adapters.look.scale: [0.0, 0.6]}}\n",
    "sd3-in-turn": f"{SD3}adapters:\n  off: {CAT}, image: bear.png, scale: 0}}\n  look: {CAT}, image: other.png}}\n"
    "matrix: {adapters.look.model: [sd3.safetensors, other.safetensors]}\n",
    "sd3-pair": f"{SD3}adapters:\n  look: {CAT}, image_embeds: sd3-pair.npy, scale: -0.5}}\n",
    "sd3-one": f"{SD3}adapters:\n  look: {CAT}, image_embeds: sd3-one.npy}}\n",
    "sd3-images": f"{SD3}adapters:\n  look: {CAT}, image: [bear.png, other.png]}}\n"
    "matrix: {sampling.guidance_scale: [1.0]}\n",
    "sd3-unguided": f"{SD3}adapters:\n  look: {CAT}, image_embeds: sd3-two.npy}}\n"
    "matrix: {sampling.guidance_scale: [1.0]}\n",
}
REFUSED = {
    "several images": (f"{SD3}adapters:\n  look: {CAT}, image: [bear.png, other.png]}}\n", "only one image"),
    "blocks": (
        f"{SD3}adapters:\n  look: {CAT}, image: bear.png, scale: {{transformer_blocks: [0.0, 1.0]}}}}\n",
        "one scale for all blocks",
    ),
    "below zero": (f"{SD3}adapters:\n  look: {CAT}, image: bear.png, scale: -0.5}}\n", "at a scale below 0"),
    "skipping": (
        f"{SD3.replace('4.0', '4.0, skip_guidance_layers: [1]')}adapters:\n  look: {CAT}, image: bear.png}}\n",
        "skip-layer guidance",
    ),
    "mixed": (
        f"{FLUX}adapters:\n  look: {LOOK}, image: bear.png}}\n  more: {LOOK}, image_embeds: flux-pair.npy}}\n",
        "or all must have embeddings",
    ),
    "three tokens": (
        f"{FLUX}adapters:\n  look: {LOOK.replace('flux', 'three')}, image: bear.png}}\n",
        "reads its 3 tokens as 4",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    build_flux(folder / "flux", num_layers=2)
    build_sd3(folder / "sd3")
    build_image_encoder(folder / "clip")
    build_siglip(folder / "siglip")
    write_ip_adapter(folder / "flux.safetensors", flux_shapes(blocks=2, xlabs=True, **TINY_FLUX), 1)
    three = flux_shapes(blocks=2, xlabs=True, **TINY_FLUX, tokens=3)
    write_ip_adapter(folder / "three.safetensors", three, 2)
    write_ip_adapter(folder / "sd3.safetensors", sd3_shapes(attentions=2, translated=True, **TINY_SD3), 3)
    write_ip_adapter(folder / "other.safetensors", sd3_shapes(attentions=2, translated=False, **TINY_SD3), 4)
    write_picture(folder / "bear.png", 1)
    write_picture(folder / "other.png", 2)
    shapes = {"flux-pair": (2, 1, 24), "sd3-pair": (2, 4, 16), "sd3-one": (4, 16), "sd3-two": (1, 2, 4, 16)}
    for name, shape in shapes.items():
        np.save(folder / f"{name}.npy", np.random.default_rng(len(name)).normal(size=shape).astype(np.float32))
    (folder / "cwd").mkdir()
    return folder


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: np.asarray(Image.open(path)).tobytes() for path in sorted(folder.iterdir())}


def test_scripts_make_the_pixels_of_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scripts = []
    for name, text in RECIPES.items():
        (folder / f"{name}.yaml").write_text(f"{HEAD}name: {name}\n{text}")
        answer = call(capsys, "export", f"{folder}/{name}.yaml", "--to", "python", "-o", f"{folder}/{name}.py")
        assert answer.status == 0, answer.err
        scripts.append(answer.out.strip())
    code = f"import runpy\nfor path in {scripts!r}:\n    runpy.run_path(path)\n"
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder / "cwd", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in RECIPES:
        run = recipe_runner.run_recipe(folder / f"{name}.yaml", runs=folder / "runs")
        ours = pictures(run.folder / "images")
        assert ours == pictures(folder / "cwd" / name), name
        assert len(set(ours.values())) == len(ours), name


@pytest.mark.parametrize("name", REFUSED)
def test_what_diffusers_cannot_do_is_said(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, words = REFUSED[name]
    (folder / "refused.yaml").write_text(f"{HEAD}name: refused\n{text}")
    answer = call(capsys, "export", f"{folder}/refused.yaml", "--to", "python")
    assert answer.status == 1
    assert "error[E860]: adapter look: " in answer.err
    assert words in answer.err
    compile(answer.out, "refused.py", "exec")
