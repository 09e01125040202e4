"""Read the texts in the bytes of an image: PNG, JPEG, WebP, AVIF and GIF."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any

from PIL import Image

from recipe_runner.exchange.importers.png_texts import SIGNATURE, png_texts, text_of_bytes
from recipe_runner.images.metadata import MAKER_NOTE, RECIPE_KEYWORD, recipe_of_note
from recipe_runner.images.read import UnreadableImage, open_image

USER_COMMENT = "UserComment"
"""The keyword of an EXIF user comment among the texts of an image."""

_SIGNATURES = {
    "PNG": re.compile(re.escape(SIGNATURE)),
    "JPEG": re.compile(b"\xff\xd8\xff"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "AVIF": re.compile(rb".{4}ftypavi[fs]", re.DOTALL),
}
"""The first bytes of each format, by Pillow's name of it."""
_EXIF_FOLDER = 0x8769
_TAGS = {0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software", 0x9C9C: "XPComment"}
_USER_COMMENT = 0x9286
_WINDOWS = (0x9C9C,)
_PREFIX = 8
_DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, AttributeError,
    MemoryError, struct.error,
)  # fmt: skip
"""What Pillow's readers raise for damaged files."""


class Damaged(ValueError):
    """The bytes are an image that cannot be read."""


def image_format(data: bytes) -> str | None:
    """Pillow's name of the format that the first bytes show; None when they are not those of a known image format."""
    for format_name, signature in _SIGNATURES.items():
        if signature.match(data):
            return format_name
    return None


def image_texts(data: bytes, format_name: str) -> dict[str, str]:
    """Every text of an image by its keyword or EXIF tag.

    Raises:
        Damaged: the file cannot be read as the format that its first bytes show.
    """
    if format_name == "PNG":
        texts = png_texts(data)
        raw = texts.pop("\0exif", None)
        if raw is None:
            return texts
        return {**_exif_texts(_exif(raw.encode("latin-1"))), **texts}
    try:
        # No pixel is decoded, so any number of them is allowed.
        with open_image(BytesIO(data), (format_name,), largest=None) as image:
            comment = image.info.get("comment")
            texts = _exif_texts(image.getexif())
    except UnreadableImage as error:
        raise Damaged(str(error)) from error
    if isinstance(comment, bytes):
        texts["comment"] = text_of_bytes(comment)
    return texts


def _exif(raw: bytes) -> Image.Exif:
    exif = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif.load(raw)
    except _DAMAGED:
        return Image.Exif()
    return exif


def _exif_texts(exif: Image.Exif) -> dict[str, str]:
    texts: dict[str, str] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: Mapping[int, Any] = {**dict(exif), **exif.get_ifd(_EXIF_FOLDER)}
    except _DAMAGED:
        return texts
    for tag, value in found.items():
        if tag == MAKER_NOTE:
            recipe = recipe_of_note(value)
            if recipe is not None:
                texts[RECIPE_KEYWORD] = recipe
        elif tag == _USER_COMMENT:
            raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
            texts[USER_COMMENT] = user_comment(raw)
        elif tag in _TAGS and isinstance(value, (str, bytes, tuple)):
            texts[_TAGS[tag]] = _tag_text(tag, value).rstrip("\0")
    return texts


def _tag_text(tag: int, value: str | bytes | tuple[int, ...]) -> str:
    if isinstance(value, str):
        return value
    raw = value if isinstance(value, bytes) else bytes(each & 0xFF for each in value)
    if tag in _WINDOWS:
        return raw.decode("utf-16-le", "replace")
    return text_of_bytes(raw)


def user_comment(raw: bytes) -> str:
    """The text of an EXIF user comment: eight bytes of code name, then the text.

    The standard does not say which encoding UNICODE is: A1111 writes UTF-16 in big endian, others in little endian, or
    UTF-8. The decoding with the most ASCII letters is taken: parameters have many, and a wrong decoding has none.
    """
    code, body = raw[:_PREFIX], raw[_PREFIX:]
    if code.startswith(b"JIS"):
        return body.decode("iso2022_jp", "replace")
    if code.startswith(b"ASCII") or code == b"\0" * _PREFIX:
        return text_of_bytes(body).rstrip("\0")
    if not code.startswith(b"UNICODE"):
        return text_of_bytes(raw).rstrip("\0")
    readings = [body.decode(name, "replace") for name in ("utf-16-be", "utf-16-le")]
    with suppress(UnicodeDecodeError):
        readings.append(body.decode("utf-8"))
    best = max(readings, key=_likely)
    return best.removeprefix("\ufeff").rstrip("\0")


def _likely(text: str) -> float:
    sample = text[:4096]
    return sum(" " <= letter <= "~" for letter in sample) / max(1, len(sample)) - sample.count("\0")
