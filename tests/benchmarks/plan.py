"""Planning 10,000 images: seconds and peak memory of the whole process, for three shapes of recipe.

.venv/bin/python tests/benchmarks/plan.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, best

SHAPES = {
    "1 variant, 100 prompts, 100 seeds": (1, 100, 100),
    "100 variants, 10 prompts, 10 seeds": (100, 10, 10),
    "10,000 variants, 1 prompt, 1 seed": (10_000, 1, 1),
}


def recipe_of(variants: int, prompts: int, seeds: int) -> str:
    """A recipe on the demo model with its LoRA that makes variants x prompts x seeds images."""
    demo = (ROOT / "recipes/demo").as_posix()
    scales = [round(index / variants, 5) for index in range(variants)]
    lines = [
        "recipe: 1",
        "name: many",
        f"base: {{model: {demo}/model}}",
        f"adapters: {{outline: {{kind: lora, model: {demo}/lora/outline.safetensors}}}}",
        f"seeds: {{start: 0, count: {seeds}}}",
        f"matrix: {{adapters.outline.scale: {scales}}}",
        "prompts:",
        *(f"  - {{id: p{index}, prompt: a red circle number {index}}}" for index in range(prompts)),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in SHAPES.items():
            recipe = Path(folder) / "recipe.yaml"
            recipe.write_text(recipe_of(*shape))
            command = [sys.executable, "-m", "recipe_runner", "plan", str(recipe)]

            def plan(command: list[str] = command) -> None:
                subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

            seconds = best(3, plan=plan)["plan"]
            mebibytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(f"{name}: {seconds:.2f} s, at most {mebibytes:.0f} MiB so far (targets: 2 s, 300 MB)")


if __name__ == "__main__":
    main()
