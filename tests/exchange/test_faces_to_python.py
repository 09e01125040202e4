"""Exported scripts that find faces with insightface themselves make the pixels of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from support.command import call
from support.faces import build_face_models, need_insightface, write_face
from support.ip_adapters import build_image_encoder, tiny_shapes, write_ip_adapter, write_picture
from support.plain import plain_pipeline
from support.tiny import _one_thread, sd15_folder

import recipe_runner

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

__all__ = ["_one_thread", "sd15_folder"]

RECIPE = """\
recipe: 1
name: faces
base: {model: model}
adapters:
  look: {kind: ip_adapter, model: look.safetensors, image: bear.png, scale: 0.4}
  face: {kind: ip_adapter, model: faceid.safetensors, image: anna.png}
  plus: {kind: ip_adapter, model: faceid-plusv2.safetensors, image: bob.png, scale: 0.5}
prompts: [{prompt: a bear}, {prompt: a red circle, images: {face: [anna.png, bob.png], plus: anna.png}}]
sampling: {num_inference_steps: 2}
runtime: {device: cpu, threads: 1}
matrix: {adapters.face.scale: [0.0, 0.6], adapters.plus.shortcut: [false, true], sampling.guidance_scale: [1.0, 5.0]}
"""


def test_a_script_finds_faces_as_a_run_does(
    sd15_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need_insightface()
    monkeypatch.setenv("INSIGHTFACE_HOME", str(build_face_models(tmp_path / "insightface")))
    (tmp_path / "model").symlink_to(sd15_folder)
    unet = plain_pipeline(sd15_folder).unet
    build_image_encoder(tmp_path / "image_encoder")
    names = {"look": ("base", 0), "faceid": ("faceid", 4), "faceid-plusv2": ("faceid_plus", 2)}
    for seed, (name, (variant, rank)) in enumerate(names.items(), 5):
        write_ip_adapter(tmp_path / f"{name}.safetensors", tiny_shapes(variant, unet, lora=rank), seed)
    write_picture(tmp_path / "bear.png", 1)
    write_face(tmp_path / "anna.png", (-6, -4), (3, -4))
    write_face(tmp_path / "bob.png", (-2, 4), at=[(40, 50)])
    recipe, script = tmp_path / "recipe.yaml", tmp_path / "script.py"
    recipe.write_text(RECIPE)
    answer = call(capsys, "export", str(recipe), "--to", "python", "-o", str(script))
    assert answer.status == 0, answer.err
    assert "# Note: insightface's models (buffalo_l) recognise faces; their licence allows" in script.read_text()
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": ""}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = recipe_runner.run_recipe(recipe, runs=tmp_path / "runs")
    ours = {path.name: np.asarray(Image.open(path)) for path in sorted((run.folder / "images").iterdir())}
    theirs = {path.name: np.asarray(Image.open(path)) for path in sorted((tmp_path / "cwd" / "faces").iterdir())}
    assert list(ours) == list(theirs)
    assert [name for name, picture in ours.items() if not np.array_equal(picture, theirs[name])] == []
    assert len({picture.tobytes() for picture in ours.values()}) == len(ours) == 16
