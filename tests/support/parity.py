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
    from collections.abc import Sequence

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
    """The pictures of `recipe` (appended to HEAD), run in `folder` with `overrides`: [images, height, width, 3]."""
    path = folder / "parity.yaml"
    path.write_text(HEAD + recipe)
    run = recipe_runner.run_recipe(path, overrides, runs=folder / "runs")
    plan = recipe_runner.compile_recipe(path, overrides)
    return np.stack([np.asarray(Image.open(run.folder / "images" / image.path)) for image in plan.images])


_EACH = """\
import runpy, sys
folder, *scripts = sys.argv[1:]
for script, output in zip(scripts[::2], scripts[1::2]):
    sys.argv = [script, folder, output]
    runpy.run_path(script)
"""


def scripts_pictures(folder: Path, names: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """The pictures of each script of `tests/parity` in `names`, made one after another in a single other process."""
    outputs = {name: folder / f"{name}.npy" for name in names}
    pairs = [text for name, output in outputs.items() for text in (str(SCRIPTS / f"{name}.py"), str(output))]
    _run([sys.executable, "-c", _EACH, str(folder), *pairs])
    return {name: np.load(output) for name, output in outputs.items()}


def script_pictures(folder: Path, name: str, *arguments: str) -> NDArray[np.uint8]:
    """The pictures of `tests/parity/<name>.py` on the files in `folder`, made in a process of its own."""
    output = folder / f"{name}.npy"
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), str(folder), str(output), *arguments]
    _run(command)
    found: Any = np.load(output)
    return found  # type: ignore[no-any-return]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, env={**os.environ, "TQDM_DISABLE": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
