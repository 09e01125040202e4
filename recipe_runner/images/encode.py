"""Encode pixels as bare image files; `recipe_runner.images.metadata` adds the metadata."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Literal, TypeAlias

from PIL import Image

from recipe_runner.problems.problem import Problem, RecordError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]

Format: TypeAlias = Literal["png", "webp", "jpeg"]

SUFFIXES: dict[str, str] = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
"""The file name suffix of each format."""

# Levels above 4 take twice the time and give no smaller file, measured on 1024-pixel images.
_PNG_COMPRESSION = 4
_JPEG_QUALITY = 95
_LIMITS = {"png": 2**31 - 1, "webp": 16_383, "jpeg": 65_500}
_CHANNELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """An encoded image: its bytes without metadata, its size in pixels, and the digest of its pixels."""

    data: bytes
    format: Format
    width: int
    height: int
    pixel_sha256: str


def pixel_sha256(pixels: Pixels) -> str:
    """The sha256 of uint8 pixels [H, W, 3]: rows from the top, pixels from the left, R, G and B one byte each.

    It can be computed from a lossless file: `sha256(Image.open(path).convert("RGB").tobytes())`.
    """
    return hashlib.sha256(_checked(pixels).tobytes()).hexdigest()


def encode(pixels: Pixels, file_format: Format, quality: int | None = None) -> EncodedImage:
    """The bare image file of uint8 pixels [H, W, 3]; the same arguments and library versions give the same bytes.

    Args:
        pixels: red, green and blue, 0 to 255.
        file_format: png and webp without `quality` keep every pixel.
        quality: 1 to 100, of a jpeg (95 when None) or a lossy webp.

    Raises:
        RecordError: E807, the image is too large for the format.
    """
    image = Image.fromarray(_checked(pixels))
    if max(image.size) > _LIMITS[file_format]:
        raise RecordError(
            Problem(
                code="E807",
                message=f"a {file_format} file cannot contain an image of {image.width}x{image.height} pixels",
                hint="Set output.format to png.",
            )
        )
    file = BytesIO()
    if file_format == "png":
        image.save(file, "PNG", compress_level=_PNG_COMPRESSION)
    elif file_format == "jpeg":
        # Colour at full resolution: half of it is visible in small images and at sharp edges.
        image.save(file, "JPEG", quality=quality or _JPEG_QUALITY, subsampling=0)
    elif quality is None:
        image.save(file, "WEBP", lossless=True, quality=75, method=4)
    else:
        image.save(file, "WEBP", quality=quality, method=4)
    return EncodedImage(
        data=file.getvalue(),
        format=file_format,
        width=image.width,
        height=image.height,
        pixel_sha256=pixel_sha256(pixels),
    )


def _checked(pixels: Pixels) -> Pixels:
    if pixels.dtype.name != "uint8" or pixels.ndim != _CHANNELS or pixels.shape[2] != _CHANNELS or not pixels.size:
        raise AssertionError(f"BUG: not uint8 pixels [H, W, 3]: {pixels.dtype} {pixels.shape}")
    return pixels
