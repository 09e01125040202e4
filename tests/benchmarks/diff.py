"""`diff` of two recipes, whole process, against the target; and whether it imported torch.

.venv/bin/python tests/benchmarks/diff.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, best

TARGET = 0.3


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = (
            (ROOT / "recipes/lora-scale.yaml").read_text().replace("demo/", f"{(ROOT / 'recipes/demo').as_posix()}/")
        )
        old, new = Path(folder) / "old.yaml", Path(folder) / "new.yaml"
        old.write_text(recipe)
        new.write_text(recipe.replace("[0.0, 0.5, 1.0]", "[0.0, 0.6, 1.0]").replace("blue", "very dark green"))
        command = [sys.executable, "-m", "recipe_runner", "diff", str(old), str(new)]

        def diff() -> None:
            subprocess.run(command, cwd=ROOT, check=False, capture_output=True)

        def start() -> None:
            subprocess.run([sys.executable, "-c", "pass"], cwd=ROOT, check=True)

        seconds = best(10, diff=diff, start=start)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        diff()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        words = [sys.executable, "-X", "importtime", *command[1:]]
        listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        torch = "torch" in {line.rpartition("|")[2].strip() for line in listed.stderr.splitlines()}
    print(
        f"diff of two recipes: {seconds['diff'] * 1000:.0f} ms, {work * 1000:.0f} ms of processor time (target: "
        f"{TARGET * 1000:.0f} ms), of which Python's own start {seconds['start'] * 1000:.0f} ms; torch: {torch}"
    )


if __name__ == "__main__":
    main()
