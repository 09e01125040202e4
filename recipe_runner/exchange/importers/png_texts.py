"""The texts of a PNG file, chunk by chunk.

Pillow finds texts after the pixels only by decoding all pixels, and finds none in a file that is cut off, has a wrong
checksum or has more pixels than it decodes. None of that matters for the texts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_INFLATED = 64 * 1024 * 1024
"""Bytes of all compressed texts of one file together, when decompressed."""


def png_texts(data: bytes) -> dict[str, str]:
    """Texts by keyword from tEXt, zTXt and iTXt chunks, the first of equal keywords; damaged chunks are left out."""
    texts: dict[str, str] = {}
    place, budget = len(SIGNATURE), LARGEST_INFLATED
    while place + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind = data[place + 4 : place + 8]
        content = data[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"IEND":
            break
        if kind == b"eXIf":
            texts.setdefault("\0exif", content.decode("latin-1"))
        elif kind in _READERS:
            keyword, _, rest = content.partition(b"\0")
            found = _READERS[kind](rest, budget)
            if found is None:
                continue
            if kind != b"tEXt":
                budget -= len(found)
            texts.setdefault(keyword.decode("latin-1"), found)
    return texts


def _plain(rest: bytes, _budget: int) -> str:
    return text_of_bytes(rest)


def _compressed(rest: bytes, budget: int) -> str | None:
    """Compression method, then the compressed text."""
    raw = _inflated(rest[1:], budget)
    if raw is None:
        return None
    return text_of_bytes(raw)


def _international(rest: bytes, budget: int) -> str | None:
    """Compression flag, compression method, language, translated keyword, text."""
    fields = rest[2:].split(b"\0", 2)
    if len(fields) != 3:  # noqa: PLR2004
        return None
    raw: bytes | None = fields[-1]
    if rest[:1] == b"\1":
        raw = _inflated(fields[-1], budget)
    if raw is None:
        return None
    return raw.decode("utf-8", "replace")


_READERS: Mapping[bytes, Callable[[bytes, int], str | None]] = {
    b"tEXt": _plain,
    b"zTXt": _compressed,
    b"iTXt": _international,
}
"""The text of a chunk from what follows its keyword, by the kind of chunk; None when it is damaged or too large."""


def _inflated(data: bytes, budget: int) -> bytes | None:
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data, max(budget, 1))
    except zlib.error:
        return None
    return None if inflater.unconsumed_tail else found


def text_of_bytes(raw: bytes) -> str:
    """Decode UTF-8, which some programs write, else Latin-1, as the format says: no Latin-1 text looks like UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
