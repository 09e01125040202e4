"""Thumbnails for pages with many large images. A small image is its own thumbnail."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from recipe_runner.disk.atomic import make_folder, write_file
from recipe_runner.disk.inside import inside
from recipe_runner.images.read import WRITTEN, UnreadableImage, open_image
from recipe_runner.problems.problem import RecordError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "thumbnails"
SIDE = 256
"""The longer side of a thumbnail in pixels; images up to this size have none."""
_QUALITY = 80
SECONDS = 6.0
"""The longest time to make thumbnails for one page: it works without them, and the next page makes more."""


class LargeImage(Protocol):
    """An image of a run: its path in the run folder, its size in pixels, and the sha256 of its pixels."""

    @property
    def path(self) -> str:
        """The path relative to the run folder."""

    @property
    def width(self) -> int:
        """In pixels."""

    @property
    def height(self) -> int:
        """In pixels."""

    @property
    def pixel_sha256(self) -> str:
        """The digest of its pixels."""


def thumbnail_path(pixel_sha256: str) -> str:
    """The path of an image's thumbnail in the run folder, named after its pixels so that it is never out of date."""
    return f"{FOLDER}/{pixel_sha256[:16]}.webp"


def write_thumbnail(run: Path, pixel_sha256: str, pixels: NDArray[np.uint8]) -> None:
    """Make the thumbnail of a new image from its pixels, uint8 [H, W, 3]."""
    if max(pixels.shape[:2]) > SIDE:
        make_folder(inside(run, FOLDER))
        _write(Image.fromarray(pixels), inside(run, thumbnail_path(pixel_sha256)))


def write_thumbnails(run: Path, images: Iterable[LargeImage]) -> dict[str, str]:
    """Make the missing thumbnails of a run, and return the path of each large image's thumbnail by the image's path.

    An image that is missing, cannot be read, or did not fit into `SECONDS` has its own path instead. Returns an empty
    mapping if the folder cannot be written.
    """
    end = time.monotonic() + SECONDS
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for image in images:
        if max(image.width, image.height) <= SIDE:
            continue
        name = thumbnail_path(image.pixel_sha256)
        found[image.path] = name
        if not (run / name).is_file():
            missing[name] = image.path
    if not missing:
        return found
    try:
        make_folder(inside(run, FOLDER))
    except RecordError:
        return {}

    def make(name: str, path: str) -> str:
        if time.monotonic() < end and _read_and_write(run / path, run / name):
            return name
        return path

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        made = threads.map(make, missing.keys(), missing.values())
        found.update(zip(missing.values(), made, strict=True))
    return found


def _read_and_write(image: Path, thumbnail: Path) -> bool:
    try:
        with open_image(image, WRITTEN) as picture:
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))
            pixels = picture.convert("RGB")
    except UnreadableImage:
        return False
    try:
        # Written by a rename, which does not follow an existing link.
        _write(pixels, thumbnail)
    except RecordError:
        return False
    return True


def _write(picture: Image.Image, thumbnail: Path) -> None:
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    file = BytesIO()
    picture.save(file, "WEBP", quality=_QUALITY, method=2)
    write_file(thumbnail, file.getvalue(), durable=False)
