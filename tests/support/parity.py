"""A recipe beside the plain diffusers script that says the same: two processes' pictures, to be compared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import recipe_runner

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCRIPTS = Path(__file__).parents[1] / "parity"

HEAD = """\
recipe: 1
name: parity
base: {model: model}
sampling: {num_inference_steps: 3}
runtime: {device: cpu, threads: 1}
"""
"""What the recipes share: the base is the folder `model` beside them."""


def recipe_pictures(folder: Path, recipe: str, *overrides: str) -> NDArray[np.uint8]:
    """The pictures of `recipe` (appended to HEAD), run in `folder`: [images, height, width, 3]."""
    path = folder / "parity.yaml"
    path.write_text(HEAD + recipe)
    run = recipe_runner.run_recipe(path, overrides, runs=folder / "runs")
    plan = recipe_runner.compile_recipe(path, overrides)
    return np.stack([np.asarray(Image.open(run.folder / "images" / image.path)) for image in plan.images])


def script_pictures(folder: Path, name: str, *arguments: str) -> NDArray[np.uint8]:
    """The pictures of `tests/parity/<name>.py` on the files in `folder`, made in a process of its own."""
    output = folder / f"{name}.npy"
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), str(folder), str(output), *arguments]
    done = subprocess.run(command, env={**os.environ, "TQDM_DISABLE": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: Any = np.load(output)
    return found  # type: ignore[no-any-return]
