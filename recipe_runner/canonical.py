"""Canonical JSON bytes and sha256 digests: the identity of everything.

Keys are sorted and nothing is written that could be left out, as in RFC 8785, with two differences that are wanted:
numbers keep Python's shortest round-trip form, so that 1 and 1.0 (and true) stay apart, and keys sort by code point.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = bool | int | float | str | None | Sequence["Json"] | Mapping[str, "Json"]


def canonical(value: Json) -> bytes:
    """UTF-8 JSON bytes of `value`; equal values give equal bytes whatever the order of their keys.

    Raises:
        ValueError: for NaN or an infinity.
        TypeError: for anything that is not JSON, mappings with keys that are not strings among it.
    """
    _refuse_foreign_keys(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def digest(value: Json) -> str:
    """Hexadecimal sha256 of the canonical bytes of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _refuse_foreign_keys(value: Json) -> None:
    # json.dumps would turn the key 1 into "1" and make two different mappings equal.
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                message = f"a JSON object has a key that is not a string: {key!r}"
                raise TypeError(message)
            _refuse_foreign_keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_foreign_keys(item)
