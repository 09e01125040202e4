"""A picture's bytes to the texts in it: PNG, JPEG, WebP, AVIF and GIF."""

from __future__ import annotations

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
"""The keyword of an EXIF user comment among a picture's texts."""

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
    """The bytes are a picture that cannot be read."""


def picture_format(data: bytes) -> str | None:
    """Pillow's name of the format that the first bytes show; None for what is no picture of a known format."""
    if data.startswith(SIGNATURE):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return "AVIF" if data[4:12] in (b"ftypavif", b"ftypavis") else None


def picture_texts(data: bytes, format_name: str) -> dict[str, str]:
    """Every text of a picture by its keyword or EXIF tag.

    Raises:
        Damaged: the file cannot be read as what its first bytes say.
    """
    if format_name == "PNG":
        texts = png_texts(data)
        raw = texts.pop("\0exif", None)
        return texts if raw is None else {**_exif_texts(_exif(raw.encode("latin-1"))), **texts}
    try:
        # No pixel is decoded, so that they may be any number.
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
        if tag == MAKER_NOTE and (recipe := recipe_of_note(value)) is not None:
            texts[RECIPE_KEYWORD] = recipe
        elif tag == _USER_COMMENT:
            texts[USER_COMMENT] = user_comment(
                value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
            )
        elif tag in _TAGS and isinstance(value, (str, bytes, tuple)):
            raw = bytes(each & 0xFF for each in value) if isinstance(value, tuple) else value
            name = _TAGS[tag]
            if isinstance(raw, bytes):
                raw = raw.decode("utf-16-le", "replace") if tag in _WINDOWS else text_of_bytes(raw)
            texts[name] = raw.rstrip("\0")
    return texts


def user_comment(raw: bytes) -> str:
    """The text of an EXIF user comment: eight bytes of code name, then the text.

    The standard says UNICODE without saying which; A1111 writes big endian, others little endian or UTF-8. The reading
    with most ASCII letters is taken: parameters have plenty, and a wrong reading has none.
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
