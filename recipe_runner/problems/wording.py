"""Format values for messages: short, and on one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

_LONGEST = 60
_SPECIAL = frozenset("{}[],&*#?|<>=!%@`\"'\\\n\t")
"""Characters that YAML reads as syntax in some places."""


def shown(value: object, longest: int = _LONGEST) -> str:
    """A value on one line, cut after `longest` characters; control characters become U+FFFD."""
    text = value if isinstance(value, str) else written(value)
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    if len(text) > longest:
        return f"{text[: longest - 1]}…"
    return text


def kind_of(value: object) -> str:
    """Describe a value by its type, and a scalar also by its value: `the text "abc"`, `the number 5`, `a list`."""
    if value is None or isinstance(value, bool):
        return written(value)
    if isinstance(value, (int, float)):
        return f"the number {shown(value)}"
    if isinstance(value, str) and value:
        return f'the text "{shown(value)}"'
    name = "list"
    if isinstance(value, str):
        name = "text"
    elif isinstance(value, Mapping):
        name = "mapping"
    return f"a {name}" if value else f"an empty {name}"


def listed(names: Iterable[str], word: str = "or", *, quote: bool = True) -> str:
    """Join names: "`a`, `b` or `c`"."""
    items = list(names)
    if quote:
        items = [f"`{name}`" for name in items]
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def written(value: object) -> str:
    """A value as YAML's flow style writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(written(item) for item in value) + "]"
    if isinstance(value, str) and _is_plain(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    """Whether YAML needs no quotes around a text."""
    return text != "" and _SPECIAL.isdisjoint(text) and ": " not in text


def counted(number: int, noun: str) -> str:
    """`1 weight`, `2 weights`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def rest_of(text: str, start: int) -> str:
    """The end of `text`, from the beginning of the word that `start` is in."""
    while 0 < start < len(text) and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    return text[start:].strip()


def some(names: list[str] | tuple[str, ...], limit: int = 3) -> str:
    """The first names of a list and the number of the others: `a, b, c and 12 more`."""
    first = ", ".join(names[:limit])
    if len(names) > limit:
        return f"{first} and {len(names) - limit} more"
    return first
