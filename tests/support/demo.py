"""The demo model's folder, and the pictures that a run of one of its recipes leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

import recipe_runner

from .command import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.actions.run import Run
    from recipe_runner.plan.compile import PlannedImage

RECIPES = ROOT / "recipes"
DEMO = RECIPES / "demo"
PINNED = ["runtime.threads=1", "runtime.device=cpu"]


def picture(run: Run, image: PlannedImage) -> torch.Tensor:
    """A picture of a run: [3, H, W] in 0..1."""
    with Image.open(run.folder / "images" / image.path) as opened:
        return torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1) / 255.0


def pictures(name: str, runs: Path, *overrides: str) -> dict[str, list[torch.Tensor]]:
    """The pictures of a recipe by prompt: its variants in order, and the seeds of each."""
    path, settings = RECIPES / f"{name}.yaml", [*PINNED, *overrides]
    run = recipe_runner.run_recipe(path, settings, runs=runs)
    found: dict[str, list[torch.Tensor]] = {}
    for image in recipe_runner.compile_recipe(path, settings).images:
        found.setdefault(image.prompt, []).append(picture(run, image))
    return found
