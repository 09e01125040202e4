"""Plain YAML scalars as the core schema of YAML 1.2 reads them (section 10.3.2 of its specification).

PyYAML reads YAML 1.1, where `no` is false, `0755` is 493, `12:30:45` is 45045, dates are dates and `1e-4` is text. Here
`no`, times and dates are text, `0755` is 755, `0o755` is 493 and `1e-4` is a number.
"""

from __future__ import annotations

import math
import re

_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BASES = {"0o": 8, "0x": 16}

LARGEST_INTEGER = 2**64 - 1
"""The largest magnitude of an integer: seeds are unsigned 64-bit numbers, and no other value is larger."""
_MOST_DIGITS = 400
"""Longer integers are refused without conversion, which takes quadratic time in Python."""


class NotFiniteError(ValueError):
    """NaN, an infinity, or a number too large for a float."""


class TooLargeError(ValueError):
    """An integer beyond `LARGEST_INTEGER`."""


def read_scalar(text: str) -> bool | int | float | str | None:
    """The value of an unquoted scalar without a tag.

    Raises:
        NotFiniteError: for `.nan`, `.inf` and floats that overflow.
        TooLargeError: for integers beyond `LARGEST_INTEGER`.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise NotFiniteError(text)
        return number
    if _NOT_FINITE.fullmatch(text):
        raise NotFiniteError(text)
    return text


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise TooLargeError(text)
    base = _BASES.get(text[:2])
    number = int(text[2:], base) if base else int(text)
    if abs(number) > LARGEST_INTEGER:
        raise TooLargeError(text)
    return number
