"""Canonical JSON bytes and sha256 digests: the identity of everything.

Keys are sorted and nothing is written that could be left out, as in RFC 8785, with two differences that are wanted:
numbers keep Python's shortest round-trip form, so that 1 and 1.0 (and true) stay apart, and keys sort by code point.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None


def canonical(value: Json) -> bytes:
    """UTF-8 JSON bytes of `value`; equal values give equal bytes whatever the order of their keys.

    Raises:
        ValueError: for NaN or an infinity.
        TypeError: for anything that is not JSON, mappings with keys that are not strings among it.
    """
    _refuse_foreign_keys(value)
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def digest(value: Json) -> str:
    """Hexadecimal sha256 of the canonical bytes of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _refuse_foreign_keys(value: Any) -> None:
    # json.dumps would turn the key 1 into "1" and make two different mappings equal. Exact types, because this runs for
    # every node: whatever else is a mapping or a sequence is refused by json.dumps itself.
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                message = f"a JSON object has a key that is not a string: {key!r}"
                raise TypeError(message)
            if type(item) in _NESTED:
                _refuse_foreign_keys(item)
    elif kind is list or kind is tuple:
        for item in value:
            if type(item) in _NESTED:
                _refuse_foreign_keys(item)


_NESTED = (dict, list, tuple)
