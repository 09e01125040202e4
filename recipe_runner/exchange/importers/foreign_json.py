"""Read JSON of other programs without trust, and take it apart without exceptions."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from recipe_runner.canonical import elements as sequence
from recipe_runner.canonical import mapping

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

__all__ = ["mapping", "sequence"]  # the shared ones, which every importer uses

LARGEST_TEXT = 32 * 1024 * 1024
"""Characters. The largest ComfyUI workflows have a few million."""
_LONGEST_NUMBER = 40
_SHOWN = 120
"""Characters of a value that a sentence shows."""
_DEEPEST = 4
"""Levels of a value that a recipe takes: arguments of a call are shallow."""


def read_json(text: str) -> Any:
    """The value of a JSON object or list; None for any other text, and for one that is too deep or too large."""
    if len(text) > LARGEST_TEXT or text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The items of a list as mappings; an item of another type is an empty one."""
    return [mapping(item) for item in sequence(value)]


def first_of(tree: Mapping[str, Any], *keys: str) -> Any:
    """The value of the first of `keys` that `tree` has; None when it has none of them."""
    for key in keys:
        if key in tree:
            return tree[key]
    return None


def text_of(value: Any) -> str | None:
    """`value` when it is text and not blank."""
    if isinstance(value, str) and value.strip():
        return value
    return None


def only(tree: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The values under those of `keys` that `tree` has."""
    return {key: tree[key] for key in keys if key in tree}


def first_text(tree: Mapping[str, Any], *keys: str) -> str | None:
    """The first text that is not blank under `keys`."""
    for key in keys:
        text = text_of(tree.get(key))
        if text is not None:
            return text
    return None


def number_of(value: Any) -> int | float | None:
    """A finite number, also one written as text; whole numbers as integers."""
    if isinstance(value, str):
        value = _parsed_number(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _parsed_number(text: str) -> int | float | None:
    if len(text) <= _LONGEST_NUMBER:
        for kind in (int, float):
            with suppress(ValueError):
                return kind(text)
    return None


def float_of(value: Any) -> float | None:
    """A finite number as a float, also one written as text."""
    number = number_of(value)
    if number is None:
        return None
    return float(number)


def float_or(default: float, value: Any) -> float:
    """A finite number as a float, also one written as text; else `default`."""
    number = number_of(value)
    if number is None:
        return default
    return float(number)


def integer_of(value: Any) -> int | None:
    """A whole number, also one written as text."""
    number = number_of(value)
    return number if isinstance(number, int) else None


def given(values: Mapping[str, Json]) -> dict[str, Json]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def unread(tree: Mapping[str, Any], read: Collection[str]) -> list[str]:
    """A sentence for each value of `tree` whose key is not in `read`; empty and false values need none."""
    return [f"{key}: {str(value)[:_SHOWN]}" for key, value in tree.items() if value and key not in read]


def plain(value: Any, depth: int = 0) -> Json:
    """`value` as data that a recipe can hold: finite numbers only, and at most four levels deep."""
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {str(key): plain(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list) and depth < _DEEPEST:
        return [plain(part, depth + 1) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) else None
