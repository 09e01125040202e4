"""The texts of a PNG file, chunk by chunk.

Pillow finds texts that stand after the pixels only by decoding them all, and none in a file that is cut off, has a
wrong checksum or more pixels than it wants to decode. None of that matters for the texts.
"""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_INFLATED = 64 * 1024 * 1024
"""Bytes that the compressed texts of one file may take together."""


def png_texts(data: bytes) -> dict[str, str]:
    """Texts by keyword from tEXt, zTXt and iTXt chunks; the first of equal keywords. What is damaged is left out."""
    texts: dict[str, str] = {}
    place, budget = len(SIGNATURE), LARGEST_INFLATED
    while place + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind = data[place + 4 : place + 8]
        content = data[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"IEND":
            break
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, found = _chunk(kind, content, budget)
            if found is not None:
                budget -= len(found) if kind != b"tEXt" else 0
                texts.setdefault(keyword, found)
        elif kind == b"eXIf":
            texts.setdefault("\0exif", content.decode("latin-1"))
    return texts


def _chunk(kind: bytes, content: bytes, budget: int) -> tuple[str, str | None]:
    keyword, _, rest = content.partition(b"\0")
    name = keyword.decode("latin-1")
    if kind == b"tEXt":
        return name, text_of_bytes(rest)
    if kind == b"zTXt":
        raw = _inflated(rest[1:], budget)
        return name, None if raw is None else text_of_bytes(raw)
    # iTXt: compression flag, compression method, language, translated keyword, text.
    compressed = rest[:1] == b"\1"
    body = rest[2:].split(b"\0", 2)
    raw = body[-1] if len(body) == 3 else None  # noqa: PLR2004
    if raw is not None and compressed:
        raw = _inflated(raw, budget)
    return name, None if raw is None else raw.decode("utf-8", "replace")


def _inflated(data: bytes, budget: int) -> bytes | None:
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data, max(budget, 1))
    except zlib.error:
        return None
    return None if inflater.unconsumed_tail else found


def text_of_bytes(raw: bytes) -> str:
    """Latin-1, as the format says, but for the programs that write UTF-8 there: no Latin-1 text looks like it."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
