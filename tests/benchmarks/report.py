"""The report of 1,000 images: seconds to write it, and to the first paint in Chromium.

.venv/bin/python tests/benchmarks/report.py
"""

from __future__ import annotations

import hashlib
import resource
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from measure import ROOT, best
from PIL import Image
from playwright.sync_api import Request, sync_playwright

sys.path.insert(0, str(ROOT / "tests"))

from support.browser import ARGUMENTS
from support.manifests import image, manifest

from recipe_runner.record.manifest import manifest_bytes

PROMPTS, SEEDS, SCALES = 25, 10, 4


def write_run(folder: Path, side: int) -> None:
    """A run of 1,000 pictures of side x side pixels, with smooth shapes and noise, as pictures have."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    files: list[bytes] = []
    for _ in range(8):
        coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((side, side), 3)
        pixels = np.asarray(coarse).astype(np.int16) + random.integers(-3, 4, (side, side, 3))
        picture = pixels.clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / "picture.png")
        files.append((folder / "picture.png").read_bytes())
    (folder / "picture.png").unlink()
    records = []
    for number in range(PROMPTS * SEEDS * SCALES):
        prompt, rest = divmod(number, SEEDS * SCALES)
        seed, scale = divmod(rest, SCALES)
        record = image(f"p{prompt}", seed, scale / 10)
        (folder / record.path).write_bytes(files[number % len(files)])
        # Every picture counts as one of its own: each needs its own thumbnail.
        own = hashlib.sha256(str(number).encode()).hexdigest()
        records.append(record.model_copy(update={"width": side, "height": side, "pixel_sha256": own}))
    (folder / "manifest.json").write_bytes(manifest_bytes(manifest().model_copy(update={"images": tuple(records)})))


def first_paint(page_file: Path, rounds: int) -> tuple[float, float, int]:
    """The best seconds to the first paint and to the end of loading, and the pictures that were read for it."""
    paints, loads, read = [], [], 0
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        for _ in range(rounds):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            requests: list[str] = []
            page.on("request", partial(_note, requests))
            page.goto(page_file.as_uri(), wait_until="load")
            page.wait_for_timeout(500)
            paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            load = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
            paints.append(float(paint) / 1000)
            loads.append(float(load) / 1000)
            read = len(requests) - 1
            page.close()
        browser.close()
    return min(paints), min(loads), read


def _note(addresses: list[str], request: Request) -> None:
    addresses.append(request.url)


def main() -> None:
    """Print the figures."""
    for side in (64, 512, 1024):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            write_run(run, side)
            command = [sys.executable, "-m", "recipe_runner", "report", str(run)]

            def report(command: list[str] = command) -> None:
                subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            first = best(1, report=report)["report"]
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            work = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
            again = best(3, report=report)["report"]
            mebibytes = usage.ru_maxrss / 1024
            paint, load, read = first_paint(run / "report.html", 5)
            size = (run / "report.html").stat().st_size / 2**20
            print(
                f"1,000 images of {side}x{side}: {again:.1f} s to write after a run, {first:.1f} s where thumbnails "
                f"are missing ({work:.1f} s of processor time), at most {mebibytes:.0f} MiB so far (target: 10 s)"
            )
            print(
                f"  page of {size:.1f} MiB: first paint {paint * 1000:.0f} ms, loaded {load * 1000:.0f} ms, {read} "
                "pictures read (target: 1 s)"
            )


if __name__ == "__main__":
    main()
