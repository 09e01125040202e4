"""JSON that somebody else wrote: read without trust, and taken apart without exceptions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

LARGEST_TEXT = 32 * 1024 * 1024
"""Characters. The largest ComfyUI workflows have a few million."""


def read_json(text: str) -> Any:
    """The value of a JSON text; None for anything else, too deep or too large a text among them."""
    if len(text) > LARGEST_TEXT or text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` when it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """`value` when it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def text_of(value: Any) -> str | None:
    """`value` when it is text with something in it."""
    return value if isinstance(value, str) and value.strip() else None


def number_of(value: Any) -> int | float | None:
    """A finite number, also one that was written as text; whole numbers as integers."""
    if isinstance(value, str) and len(value) <= 40:  # noqa: PLR2004 - longer is no number of a person's
        try:
            value = float(value) if any(mark in value for mark in ".eE") else int(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def integer_of(value: Any) -> int | None:
    """A whole number, also one that was written as text."""
    number = number_of(value)
    return number if isinstance(number, int) else None


def plain(value: Any, depth: int = 0) -> Json:
    """`value` as data that a recipe can hold: no numbers that are not finite, nothing deep."""
    if isinstance(value, Mapping) and depth < 4:  # noqa: PLR2004 - arguments of a call are shallow
        return {str(key): plain(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list) and depth < 4:  # noqa: PLR2004
        return [plain(part, depth + 1) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) else None
