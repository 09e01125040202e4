"""A run of the demo's quickstart against a plain diffusers script that makes the same pictures, in one process.

    OMP_NUM_THREADS=2 .venv/bin/python tests/benchmarks/run.py

An image's seconds are counted from the one that was saved before it, so that loading is left out on both sides; both
save PNG files. Of all rounds, which take turns, each side's fastest image counts: what slows a machine for a while
slows neither. The pictures are compared, pixel by pixel.
"""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from measure import ROOT
from PIL import Image

import recipe_runner
from recipe_runner.report.terminal.progress import Quiet

MODEL = ROOT / "recipes/demo/model"
PROMPT = "a large red circle on a white background"
COUNT = 10
ROUNDS = 4
STEPS = 20
GUIDANCE = 4.0


class Stamps(Quiet):
    """Remembers when each image was whole."""

    def __init__(self) -> None:
        """No image yet."""
        self.seconds: list[float] = []

    def image(self, path: str) -> None:
        """Note the time."""
        del path
        self.seconds.append(time.perf_counter())


def fastest(stamps: list[float]) -> float:
    """Seconds of the fastest image."""
    return min(after - before for before, after in pairwise(stamps))


def ours(folder: Path) -> float:
    """Seconds of the fastest image of a run."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"recipe: 1\nname: overhead\nbase: {{model: {MODEL}}}\nprompts: [{{id: p, prompt: {PROMPT}}}]\n"
        f"seeds: {{start: 0, count: {COUNT}}}\nsampling: {{num_inference_steps: {STEPS}, guidance_scale: {GUIDANCE}}}\n"
    )
    stamps = Stamps()
    recipe_runner.run_recipe(recipe, runs=folder / "runs", make_progress=lambda _: stamps)
    return fastest(stamps.seconds)


def plain(pipeline: DiffusionPipeline, folder: Path) -> float:
    """Seconds of the fastest image of the script that one would write by hand."""
    stamps = []
    for seed in range(COUNT):
        generator = torch.Generator("cpu").manual_seed(seed)
        image = pipeline(PROMPT, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generator).images[0]
        image.save(folder / f"plain-{seed}.png")
        stamps.append(time.perf_counter())
    return fastest(stamps)


def main() -> None:
    """Print the figures."""
    pipeline = DiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    results: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            results["plain"].append(plain(pipeline, folder))
            results["ours"].append(ours(folder))
            if number == 0:
                made = sorted(
                    folder.glob("runs/overhead/*/images/*.png"), key=lambda path: int(path.stem.split("-")[1])
                )
                same = [
                    np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(folder / f"plain-{seed}.png")))
                    for seed, path in enumerate(made)
                ]
                print(f"pictures equal: {sum(same)} of {COUNT}")
    mine, theirs = min(results["ours"]), min(results["plain"])
    print(f"run: {mine * 1000:.1f} ms per image; plain script: {theirs * 1000:.1f} ms per image")
    print(f"ratio: {mine / theirs:.3f} (target: at most 1.02)")


if __name__ == "__main__":
    main()
