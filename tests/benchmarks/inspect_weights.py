"""`inspect` of a 7 GB checkpoint, and `validate --weights` of a recipe with a base and four adapters.

.venv/bin/python tests/benchmarks/inspect_weights.py

The files have true headers and no room on the disk: their tensors are holes.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

from measure import ROOT, best, process_seconds, processor_seconds

sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.key_tables import read_key_table  # noqa: E402
from support.sparse import write_sparse  # noqa: E402

ROUNDS = 7
TABLES = ROOT / "tests/weights/layouts/identify"
RECIPE = """\
recipe: 1
name: four-adapters
base: {model: base.safetensors}
adapters:
  a: {kind: lora, model: a.safetensors, scale: 0.5}
  b: {kind: lora, model: b.safetensors, scale: {unet: {down: 0.5}}}
  c: {kind: lora, model: c.safetensors}
  d: {kind: lora, model: d.safetensors}
prompts: [{prompt: a bear}]
sampling: {num_inference_steps: 2}
"""


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = write_sparse(folder / "base.safetensors", read_key_table(TABLES / "checkpoint-sdxl.json")["tensors"])
        lora = read_key_table(TABLES / "lora-sdxl-kohya.json")["tensors"]
        for letter in "abcd":
            write_sparse(folder / f"{letter}.safetensors", lora)
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE)
        commands = {
            "inspect": ["-m", "recipe_runner", "inspect", str(base)],
            "validate": ["-m", "recipe_runner", "validate", "--weights", str(recipe)],
            "python": ["-c", "pass"],
        }
        wall = best(ROUNDS, **{name: partial(process_seconds, words) for name, words in commands.items()})
        processor = {name: min(processor_seconds(words) for _ in range(ROUNDS)) for name, words in commands.items()}
        size = base.stat().st_size / 1e9
        for command, what in (
            ("inspect", f"inspect of {size:.1f} GB (target: under 200 ms)"),
            ("validate", "validate --weights, base + 4 adapters (target: under 500 ms)"),
            ("python", "bare interpreter"),
        ):
            print(f"{what}: {wall[command] * 1000:.0f} ms, {processor[command] * 1000:.0f} ms of processor time")


if __name__ == "__main__":
    main()
