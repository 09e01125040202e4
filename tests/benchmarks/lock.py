"""`lock --check` with 10 GB of weights, a run of 1,000 images that is there already, and how fast files are hashed.

.venv/bin/python tests/benchmarks/lock.py

The weights are sparse files: their digests are taken once, which takes as long as for any other file, and remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, best, process_seconds

MODEL = ROOT / "recipes/demo/model"
LORAS = 5
LORA_BYTES = 2_000_000_000
RECIPE = """\
recipe: 1
name: benchmark
base: {{model: {model}}}
adapters:
{adapters}
prompts: [{{id: p, prompt: a large red circle on a white background}}]
seeds: {{start: 0, count: {count}}}
sampling: {{num_inference_steps: 1, guidance_scale: 1.0, height: 64, width: 64}}
"""


def large_lora(path: Path) -> None:
    """A LoRA of the demo's UNet that is 2 GB large: rank 1.9 million, all zeros, in a sparse file."""
    rank = LORA_BYTES // (4 * 64 * 2)
    name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    shapes = {f"{name}.lora_A.weight": (rank, 64), f"{name}.lora_B.weight": (64, rank)}
    header, start = {}, 0
    for key, shape in shapes.items():
        end = start + 4 * shape[0] * shape[1]
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + start)


def command(*words: str) -> list[str]:
    """A command line of recipe_runner, for `process_seconds`."""
    return ["-m", "recipe_runner", *words]


def both(rounds: int, *words: str) -> str:
    """The least wall and processor time of a command: the second says what the first is on a machine that is idle."""
    spent: list[float] = []

    def once() -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process_seconds(command(*words))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    wall = best(rounds, once=once)["once"]
    return f"{wall * 1000:.0f} ms, of which {min(spent) * 1000:.0f} ms of processor time"


def checking(folder: Path) -> None:
    """Lock a recipe with 10 GB of weights, and check the lock."""
    adapters = []
    for number in range(LORAS):
        path = folder / f"lora-{number}.safetensors"
        large_lora(path)
        os.utime(path, (time.time() - 60, time.time() - 60))
        adapters.append(f"  a{number}: {{kind: lora, model: {path.name}, scale: 0}}")
    recipe = folder / "large.yaml"
    recipe.write_text(RECIPE.format(model=MODEL, adapters="\n".join(adapters), count=1))
    time.sleep(3)  # A file of just now is not remembered.
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *command("lock", str(recipe), "--quiet")], cwd=ROOT, check=True, capture_output=True
    )
    seconds = time.perf_counter() - began
    size = LORAS * LORA_BYTES / 1e9
    print(f"lock, {size:.0f} GB hashed for sha256 and for AutoV3: {seconds:.1f} s, {2 * size / seconds:.2f} GB/s")
    check = ("lock", "--check", str(recipe))
    time.sleep(3)  # Nor is what was found in a folder of just now.
    print(f"lock --check, asked for the first time: {both(1, *check)}")
    print(f"lock --check, again: {both(5, *check)} (target: under 300 ms)")


def hashing(folder: Path) -> None:
    """How fast sha256 alone is, and the digest of a file."""
    from recipe_runner.weights.files.digests import file_sha256

    path = folder / "lora-0.safetensors"
    block = memoryview(bytearray(4 << 20))

    def alone() -> None:
        hasher = hashlib.sha256()
        for _ in range(path.stat().st_size // len(block)):
            hasher.update(block)

    def digest() -> None:
        os.environ["RECIPE_RUNNER_CACHE"] = tempfile.mkdtemp(dir=folder)
        file_sha256(path)

    found = best(3, alone=alone, digest=digest)
    size = path.stat().st_size / 1e9
    print(f"sha256 alone: {size / found['alone']:.2f} GB/s; a file's digest: {size / found['digest']:.2f} GB/s")


def unchanged(folder: Path) -> None:
    """Run a recipe of 1,000 images twice."""
    recipe = folder / "many.yaml"
    recipe.write_text(RECIPE.format(model=MODEL, adapters="", count=1000).replace("adapters:\n", ""))
    words = command("run", str(recipe), "--runs", str(folder / "runs"), "--quiet")
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
    print(f"run of 1,000 images that are all there: {both(3, *words[2:])} (target: under 1,500 ms)")


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_DIR")) as name:
        folder = Path(name)
        os.environ["RECIPE_RUNNER_CACHE"] = str(folder / "cache")
        checking(folder)
        hashing(folder)
        unchanged(folder)


if __name__ == "__main__":
    main()
