"""Canonical JSON bytes and sha256 digests: the identity of everything.

Keys are sorted and nothing is written that could be left out, as in RFC 8785, with two differences that are wanted:
numbers keep Python's shortest round-trip form, so that 1 and 1.0 (and true) stay apart, and keys sort by code point.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

RECORD_DIGEST = "record_sha256"
"""The key under which a record that is read back carries the digest of all its other keys."""

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


def parse_json(data: bytes) -> Any:
    """The value that UTF-8 JSON bytes hold, as any reader of JSON takes them.

    Raises:
        ValueError: for anything else, whatever the damage: NaN, a number that is too large, a key that is written
            twice, half a surrogate pair and too deep a nesting among it.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError as error:
        message = "nested too deeply"
        raise ValueError(message) from error
    if b"\\ud" in data.lower():
        # Half a surrogate pair has no UTF-8; the error is a ValueError.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def with_digest(record: Mapping[str, Json]) -> dict[str, Json]:
    """The record with its own digest, by which `proved` knows it again."""
    return {**record, RECORD_DIGEST: digest(record)}


def proved(tree: object) -> dict[str, Any]:
    """The record that was given to `with_digest`.

    Raises:
        ValueError: it carries no digest, or is not what the digest is of.
    """
    if not isinstance(tree, dict):
        message = "it is not an object"
        raise ValueError(message)  # noqa: TRY004 - damage of any kind is one error
    record = {key: value for key, value in tree.items() if key != RECORD_DIGEST}
    if digest(record) != tree.get(RECORD_DIGEST):
        message = "it is not what its digest is of"
        raise ValueError(message)
    return record


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "a key is written twice"
        raise ValueError(message)
    return found


def _refuse_constant(text: str) -> Any:
    message = f"{text} is not JSON"
    raise ValueError(message)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        message = f"{text} is too large a number"
        raise ValueError(message)
    return value


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
