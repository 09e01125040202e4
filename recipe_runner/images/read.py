"""The one place that opens image files, and clear words for those that cannot be used."""

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
"""The formats that are read, and Pillow's module for each. Others stay closed whatever a file's bytes say: of EPS,
Pillow makes pixels by starting Ghostscript, and old raster formats have readers that nobody looks after."""
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
    """A file is not an image that is read here, with the reason."""


class UnknownFormat(UnreadableImage):
    """The file is of none of the formats."""


class TooLarge(UnreadableImage):
    """The image has more pixels than are decoded."""


@contextmanager
def open_image(
    file: Path | BinaryIO, formats: Sequence[str] = tuple(FORMATS), *, largest: int | None = LARGEST
) -> Iterator[Image.Image]:
    """An image file, open for the length of a block: every image that this package reads is opened here.

    Pixels are decoded only when the block asks for them; what is found damaged then leaves the block as an error of
    this function's, too.

    Args:
        file: a path, or a file that is open for reading bytes and is left open.
        formats: the formats to try, of `FORMATS`.
        largest: the number of pixels of the largest image; None where none are decoded.

    Raises:
        UnreadableImage: the file cannot be read, or is not an image of these formats, or a damaged or too large one.
    """
    from PIL.Image import DecompressionBombError  # noqa: PLC0415 - only recipes with images need Pillow

    # What Pillow remarks about odd files has no place in our output, and no line of a recipe.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(file.open("rb")) if isinstance(file, Path) else file
            image = stack.enter_context(_identified(stream, formats))
            width, height = image.size
            if largest is not None and width * height > largest:
                message = f"{width}x{height} pixels are more than the {largest} that are decoded"
                raise TooLarge(message)
            yield image
        except UnreadableImage:
            raise
        except DecompressionBombError as error:
            raise TooLarge(str(error)) from error
        except _DAMAGED as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreadableImage(said) from error


def _identified(file: BinaryIO, formats: Sequence[str]) -> Image.Image:
    """The image by the first of the formats whose mark its first bytes bear."""
    from PIL import Image  # noqa: PLC0415 - only recipes with image prompts need Pillow to be validated

    # `Image.open` is not used: it refuses what has more pixels than it would decode, also where none are decoded.
    file.seek(0)
    prefix = file.read(_PREFIX)
    for name in formats:
        import_module(f"PIL.{FORMATS[name]}")
        factory, accept = Image.OPEN[name]
        if accept is None or accept(prefix) is True:
            file.seek(0)
            return factory(file, "")
    message = "not an image of a format that is read here"
    raise UnknownFormat(message)


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
