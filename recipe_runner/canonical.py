"""Canonical JSON bytes, their sha256 digests, and careful access to JSON values.

Canonical JSON has sorted keys and no optional white space, as in RFC 8785, with two intended differences: numbers keep
Python's shortest round-trip form, so 1, 1.0 and true stay different, and keys sort by code point.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

RECORD_DIGEST = "record_sha256"
"""The key of a record that holds the digest of all its other keys."""

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` when it is a mapping, otherwise an empty mapping."""
    return value if isinstance(value, Mapping) else {}


def elements(value: Any) -> Sequence[Any]:
    """`value` when it is a list, otherwise an empty sequence."""
    return value if isinstance(value, list) else ()


def canonical(value: Json) -> bytes:
    """UTF-8 JSON bytes of `value`; equal values give equal bytes in any order of their keys.

    Raises:
        ValueError: for NaN or an infinity.
        TypeError: for anything that is not JSON, also for a mapping with a key that is not a string.
    """
    _refuse_foreign_keys(value)
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def digest(value: Json) -> str:
    """Hexadecimal sha256 of the canonical bytes of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def parse_json(data: bytes) -> Any:
    """Parse UTF-8 JSON bytes.

    Raises:
        ValueError: for anything that not every JSON parser accepts: also NaN, a number that is too large, a duplicate
            key, an unpaired surrogate, and values nested too deeply.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if b"\\ud" in data.lower():
        # An unpaired surrogate has no UTF-8 form; the error is a ValueError.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def with_digest(record: Mapping[str, Json]) -> dict[str, Json]:
    """The record with its own digest, which `proved` checks."""
    return {**record, RECORD_DIGEST: digest(record)}


def proved(tree: object) -> dict[str, Any]:
    """The record without its digest, when that is correct; the inverse of `with_digest`.

    Raises:
        ValueError: the digest is missing or does not match.
    """
    if not isinstance(tree, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - damage of any kind is one error
    record = {key: value for key, value in tree.items() if key != RECORD_DIGEST}
    if digest(record) != tree.get(RECORD_DIGEST):
        raise ValueError("it does not match its digest")
    return record


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text} is too large")
    return value


def _refuse_foreign_keys(value: Any) -> None:
    # json.dumps would turn the key 1 into "1" and make two different mappings equal. Exact types, because this runs for
    # every node: json.dumps itself refuses other mappings and sequences.
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"a JSON object has a key that is not a string: {key!r}")
            if type(item) in _NESTED:
                _refuse_foreign_keys(item)
    elif kind is list or kind is tuple:
        for item in value:
            if type(item) in _NESTED:
                _refuse_foreign_keys(item)


_NESTED = (dict, list, tuple)
