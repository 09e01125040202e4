"""Make the images that the README shows, from recipes of the demo.

    .venv/bin/python tests/guide/images.py

Runs the recipes in a temporary folder and photographs a report in Chromium (`apt-get install chromium`). The images
carry no clock time; a new version of diffusers, torch or Chromium may change some of their pixels.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from playwright.sync_api import sync_playwright  # noqa: E402
from support.browser import ARGUMENTS  # noqa: E402

IMAGES = ROOT / ".github" / "images"
SHEET = "lora-scale"
"""The recipe whose contact sheet is shown."""
REPORTS = {
    "two-loras": ("report", {"outline.scale": "rows"}),
    "quickstart": ("quickstart", {"prompt": "columns", "seed": "rows"}),
}
"""The recipes whose report is shown: the image's name, and where the axes stand."""


def main() -> None:
    """Make every image anew."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name)
        _store(_run(SHEET, runs) / "contact-sheet.png", f"{SHEET}.png")
        for recipe, (image, axes) in REPORTS.items():
            shot = runs / f"{image}.png"
            _photograph(_run(recipe, runs) / "report.html", axes, shot)
            _store(shot, shot.name)


def _run(recipe: str, runs: Path) -> Path:
    """The run folder of a recipe of the demo."""
    command = [sys.executable, "-m", "recipe_runner", "run", "-q", f"recipes/{recipe}.yaml", "--runs", str(runs)]
    # As the tests do: the number of threads decides the last bits.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return ROOT / done.stdout.splitlines()[-1]


def _photograph(report: Path, axes: Mapping[str, str], to: Path) -> None:
    """The upper part of a report, down to the end of its images."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1040, "height": 940})
        page.goto(report.as_uri())
        for axis, place in axes.items():
            page.get_by_label(axis, exact=True).select_option(place)
        # Images below the fold are loaded when they are scrolled to: the viewport holds all of these.
        page.wait_for_function("[...document.querySelectorAll('.images img')].every((image) => image.complete)")
        box = page.locator(".images").bounding_box() or {"x": 0, "y": 0, "width": 1000, "height": 900}
        end = {"width": box["x"] + box["width"] + 16, "height": box["y"] + box["height"] + 16}
        page.screenshot(path=to, clip={"x": 0, "y": 0, "width": end["width"], "height": end["height"]})
        browser.close()


def _store(image: Path, name: str) -> None:
    """Write an image with a palette of 256 colours: about a third of the size, and no recipe inside it."""
    with Image.open(image) as opened:
        opened.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)
    print(f"{(IMAGES / name).relative_to(ROOT)}: {(IMAGES / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
