"""`validate` of a 200-line recipe against importing torch and a diffusers pipeline.

.venv/bin/python tests/benchmarks/validate.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from measure import ROOT, best, process_seconds

PIPELINE = "from diffusers import StableDiffusionPipeline"
ROUNDS = 5


def recipe_of(lines: int) -> str:
    """A valid recipe of about this many lines, with every section."""
    head = (ROOT / "tests/benchmarks/head.yaml").read_text()
    prompts: list[str] = []
    while len((head + "".join(prompts)).splitlines()) < lines:
        number = len(prompts)
        prompts.append(
            f"  - id: prompt-{number}\n    prompt: a bear eating pizza number {number}\n    negative_prompt: blurry\n"
        )
    return head + "".join(prompts)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(recipe_of(200))
        seconds = best(
            ROUNDS,
            validate=lambda: process_seconds(["-m", "recipe_runner", "validate", str(recipe)]),
            pipeline=lambda: process_seconds(["-c", PIPELINE]),
            python=lambda: process_seconds(["-c", "pass"]),
        )
    print(f"validate of {len(recipe_of(200).splitlines())} lines: {seconds['validate'] * 1000:.0f} ms")
    print(f"bare interpreter: {seconds['python'] * 1000:.0f} ms")
    print(f"import of a diffusers pipeline: {seconds['pipeline'] * 1000:.0f} ms")
    print(f"ratio to the import: 1/{seconds['pipeline'] / seconds['validate']:.1f} (target: at most 1/20)")


if __name__ == "__main__":
    main()
