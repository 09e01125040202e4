"""The part of an HTTP answer that was asked for, also from a server that sends the whole file instead."""

from __future__ import annotations

import re
from typing import Any

_PART = 206


def read_range(answer: Any, first: int, last: int) -> bytes:
    """Bytes `first` to `last` of the file that a streamed answer holds; what comes after is not read."""
    skip = 0 if answer.status_code == _PART else first
    wanted = skip + last - first + 1
    found = bytearray()
    for block in answer.iter_raw():
        found += block
        if len(found) >= wanted:
            break
    return bytes(found[skip:wanted])


def whole_size(answer: Any) -> int | None:
    """Size in bytes of the whole file, as an answer tells it."""
    match = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if match:
        return int(match[1])
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and answer.status_code != _PART else None
