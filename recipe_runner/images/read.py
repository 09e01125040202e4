"""The only module that opens image files, with clear messages for files that cannot be used."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from recipe_runner.sources.address import refused

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {
    "PNG": "PngImagePlugin",
    "JPEG": "JpegImagePlugin",
    "WEBP": "WebPImagePlugin",
    "GIF": "GifImagePlugin",
    "AVIF": "AvifImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
}
"""The formats that are read, and Pillow's module for each. Files of other formats are never opened: for EPS, Pillow
starts Ghostscript, and the readers of old raster formats are unmaintained."""
WRITTEN = ("PNG", "JPEG", "WEBP")
"""The formats of this package's own images."""
LARGEST = 100_000_000
"""Pixels of the largest image that is decoded: a small file can claim to be a huge image."""

_HINT = "name a PNG, JPEG, WebP, GIF, AVIF, BMP or TIFF file"
_DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, AttributeError,
    MemoryError, struct.error,
)  # fmt: skip
"""What Pillow's readers raise for damaged files."""
_PREFIX = 16

T = TypeVar("T")


class UnreadableImage(ValueError):
    """A file cannot be read as an image, with the reason."""


class UnknownFormat(UnreadableImage):
    """The file has none of the supported formats."""


class TooLarge(UnreadableImage):
    """The image has more pixels than the limit."""


@contextmanager
def open_image(
    file: Path | BinaryIO, formats: Sequence[str] = tuple(FORMATS), *, largest: int | None = LARGEST
) -> Iterator[Image.Image]:
    """An image file, open inside a block: every image that this package reads is opened here.

    Pixels are decoded only when the block asks for them; damage found at that time raises the same errors.

    Args:
        file: a path, or a file that is open for reading bytes and stays open.
        formats: the formats to try, of `FORMATS`.
        largest: the most pixels that an image can have; None if they are not decoded.

    Raises:
        UnreadableImage: the file cannot be read, is not an image of these formats, is damaged, or is too large.
    """
    from PIL.Image import DecompressionBombError  # noqa: PLC0415 - only recipes with images need Pillow

    # Pillow's warnings about unusual files name no place in a recipe.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with ExitStack() as stack:
        try:
            if isinstance(file, Path):
                file = stack.enter_context(file.open("rb"))
            image = stack.enter_context(_identified(file, formats))
            width, height = image.size
            if largest is not None and width * height > largest:
                message = f"{width}x{height} pixels are more than the {largest} that are allowed"
                raise TooLarge(message)
            yield image
        except UnreadableImage:
            raise
        except DecompressionBombError as error:
            raise TooLarge(str(error)) from error
        except _DAMAGED as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreadableImage(reason) from error


def _identified(file: BinaryIO, formats: Sequence[str]) -> Image.Image:
    """The image, opened with the first of the formats that its first bytes match."""
    from PIL import Image  # noqa: PLC0415 - only recipes with image prompts need Pillow to be validated

    # `Image.open` is not used: it refuses large images even if their pixels are not decoded.
    file.seek(0)
    prefix = file.read(_PREFIX)
    for name in formats:
        import_module(f"PIL.{FORMATS[name]}")
        factory, accept = Image.OPEN[name]
        if accept is None or accept(prefix) is True:
            file.seek(0)
            return factory(file, "")
    raise UnknownFormat("not an image of a supported format")


def check_picture(path: Path, shown: str) -> None:
    """Check that an image can be read to its end, at little cost. `shown` is its name in messages.

    Raises:
        ResolutionError: E648, the file is not an image, is damaged or cut off, or is too large.
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
    """Width and height in pixels, from the image's header.

    Raises: as `check_picture`.
    """
    return _opened(path, shown, lambda picture: picture.size)


def grey_range(path: Path, shown: str) -> tuple[int, int, bool]:
    """The darkest and the lightest grey of an image, read as a mask, and whether it has transparency.

    Raises: as `check_picture`.
    """

    def look(picture: Image.Image) -> tuple[int, int, bool]:
        darkest, lightest = picture.convert("RGB").convert("L").getextrema()
        return int(darkest), int(lightest), "A" in picture.getbands() or "transparency" in picture.info  # type: ignore[arg-type]

    return _opened(path, shown, look)


def read_picture(path: Path, shown: str) -> Image.Image:
    """The image as `diffusers.utils.load_image` returns it: rotated by its EXIF orientation, in RGB.

    Raises: as `check_picture`.
    """
    from PIL import ImageOps  # noqa: PLC0415 - only recipes with image prompts need Pillow to be validated

    return _opened(path, shown, lambda picture: ImageOps.exif_transpose(picture).convert("RGB"))


def _opened(path: Path, shown: str, use: Callable[[Image.Image], T]) -> T:
    try:
        with open_image(path) as picture:
            return use(picture)
    except TooLarge as error:
        hint = "make the image smaller; an image encoder sees a few hundred pixels"
        raise refused("E648", f"{shown}: {error}", hint) from error
    except UnknownFormat as error:
        raise refused("E648", f"{shown}: this is {error}", _HINT) from error
    except UnreadableImage as error:
        raise refused("E648", f"{shown}: the image cannot be read ({error})", "save or download it again") from error
