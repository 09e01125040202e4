"""Small pictures for pages of many large ones. A small picture is its own thumbnail."""

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
"""The longer side of a thumbnail in pixels; a picture that is no larger has none."""
_QUALITY = 80
SECONDS = 6.0
"""How long thumbnails are made for one page at the most: it works without them, and the next one finds more."""


class LargeImage(Protocol):
    """An image of a run: where it lies in the run folder, its size in pixels, and the sha256 of its pixels."""

    @property
    def path(self) -> str:
        """Where it lies, relative to the run folder."""

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
    """Where the thumbnail of a picture lies in the run folder: named after its pixels, never taken for another's."""
    return f"{FOLDER}/{pixel_sha256[:16]}.webp"


def write_thumbnail(run: Path, pixel_sha256: str, pixels: NDArray[np.uint8]) -> None:
    """Make the thumbnail of a picture, uint8 [H, W, 3], that was just made and need not be read for it."""
    if max(pixels.shape[:2]) > SIDE:
        make_folder(inside(run, FOLDER))
        _write(Image.fromarray(pixels), inside(run, thumbnail_path(pixel_sha256)))


def write_thumbnails(run: Path, images: Iterable[LargeImage]) -> dict[str, str]:
    """Make the thumbnails of a run that are not there yet; each large image's path leads to its thumbnail's.

    Of a picture that is not there, or cannot be read, the path leads to itself; so does that of every picture where
    nothing can be written, and of those that `SECONDS` were too short for.
    """
    end = time.monotonic() + SECONDS
    large = [image for image in images if max(image.width, image.height) > SIDE]
    wanted = {image.path: thumbnail_path(image.pixel_sha256) for image in large}
    missing = {name: path for path, name in wanted.items() if not (run / name).is_file()}
    try:
        if missing:
            make_folder(inside(run, FOLDER))
    except RecordError:
        return {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        made = threads.map(
            lambda pair: time.monotonic() < end and _read_and_write(run / pair[1], run / pair[0]), missing.items()
        )
        failed = {path for path, done in zip(missing.values(), made, strict=True) if not done}
    return {path: path if path in failed else name for path, name in wanted.items()}


def _read_and_write(image: Path, thumbnail: Path) -> bool:
    try:
        with open_image(image, WRITTEN) as picture:
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))
            pixels = picture.convert("RGB")
    except UnreadableImage:
        return False
    try:
        # Renamed into its place, so that a link that stands there is not followed.
        _write(pixels, thumbnail)
    except RecordError:
        return False
    return True


def _write(picture: Image.Image, thumbnail: Path) -> None:
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    file = BytesIO()
    picture.save(file, "WEBP", quality=_QUALITY, method=2)
    write_file(thumbnail, file.getvalue(), durable=False)
