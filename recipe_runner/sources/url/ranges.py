"""Read the requested part of an HTTP answer, also from a server that sends the whole file instead."""

from __future__ import annotations

import re
from typing import Any

_PART = 206


def read_range(answer: Any, first: int, last: int) -> bytes:
    """Bytes `first` to `last` of the file in a streamed answer; later bytes are not read."""
    skip = first
    if answer.status_code == _PART:
        skip = 0
    wanted = skip + last - first + 1
    found = bytearray()
    for block in answer.iter_raw():
        found += block
        if len(found) >= wanted:
            break
    return bytes(found[skip:wanted])


def whole_size(answer: Any) -> int | None:
    """Size of the whole file in bytes, as an answer states it."""
    match = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if match:
        return int(match[1])
    length = answer.headers.get("Content-Length", "")
    if answer.status_code == _PART or not length.isdecimal():
        return None
    return int(length)
