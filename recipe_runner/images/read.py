"""Open pictures that go into a pipeline, with clear words for those that cannot be used."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from recipe_runner.problems.problem import ResolutionError
from recipe_runner.sources.address import refused

if TYPE_CHECKING:
    from PIL import Image

LARGEST = 100_000_000
"""Pixels of the largest picture that is decoded: a small file can claim to be a huge picture."""

_HINT = "name a PNG, JPEG or WebP file"

T = TypeVar("T")


def check_picture(path: Path, shown: str) -> None:
    """Read a picture through, at little cost. `shown` names it for a message.

    Raises:
        ResolutionError: E648 it is no picture, broken, cut short, or too large.
    """

    def check(picture: Image.Image) -> None:
        if picture.format == "PNG":
            # Every chunk has a checksum; nothing needs decoding.
            picture.verify()
        else:
            # A JPEG is decoded at an eighth of its size, which still reads all of it.
            picture.draft("RGB", (1, 1))
            picture.load()

    _opened(path, shown, check)


def picture_size(path: Path, shown: str) -> tuple[int, int]:
    """Width and height in pixels, from the picture's header.

    Raises: as `check_picture`.
    """
    return _opened(path, shown, lambda picture: picture.size)


def grey_range(path: Path, shown: str) -> tuple[int, int, bool]:
    """The darkest and the lightest grey of a picture, read as masks are, and whether it has a transparency beside.

    Raises: as `check_picture`.
    """

    def look(picture: Image.Image) -> tuple[int, int, bool]:
        darkest, lightest = picture.convert("RGB").convert("L").getextrema()
        return int(darkest), int(lightest), "A" in picture.getbands() or "transparency" in picture.info  # type: ignore[arg-type]

    return _opened(path, shown, look)


def read_picture(path: Path, shown: str) -> Image.Image:
    """The picture as `diffusers.utils.load_image` gives it: turned as its EXIF data say, in RGB.

    Raises: as `check_picture`.
    """
    from PIL import ImageOps  # noqa: PLC0415 - only recipes with image prompts need Pillow to be validated

    return _opened(path, shown, lambda picture: ImageOps.exif_transpose(picture).convert("RGB"))


def _opened(path: Path, shown: str, use: Callable[[Image.Image], T]) -> T:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - as above

    try:
        with warnings.catch_warnings():
            # Pillow's own guard warns at a size and fails at twice that; ours has one size.
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                width, height = picture.size
                if width * height > LARGEST:
                    raise _too_large(shown, f"{width}x{height} pixels")
                return use(picture)
    except Image.DecompressionBombError as error:
        raise _too_large(shown, "its pixels") from error
    except UnidentifiedImageError as error:
        raise refused("E648", f"{shown}: this is no picture of a format known here", _HINT) from error
    except PermissionError as error:
        raise refused("E648", f"{shown}: the picture cannot be read: {error.strerror}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        said = str(error) or type(error).__name__
        raise refused("E648", f"{shown}: the picture cannot be read ({said})", "save or download it again") from error


def _too_large(shown: str, size: str) -> ResolutionError:
    message = f"{shown}: {size} are more than the {LARGEST} that are decoded"
    return refused("E648", message, "make the picture smaller; an image encoder sees a few hundred pixels")
