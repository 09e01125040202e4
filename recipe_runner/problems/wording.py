"""Values in messages: short, and on one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

_LONGEST = 60


def shown(value: object, longest: int = _LONGEST) -> str:
    """A scalar as it may stand in a sentence: on one line, cut where it is long."""
    text = value if isinstance(value, str) else written(value)
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def kind_of(value: object) -> str:
    """What a value is, with the value where that is short: `the text "abc"`, `the number 5`, `a list`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the text "{shown(value)}"' if value else "an empty text"
    if isinstance(value, (int, float)):
        return f"the number {shown(value)}"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    return "a list" if value else "an empty list"


def listed(names: Iterable[str], word: str = "or", *, quote: bool = True) -> str:
    """`a`, `b` or `c`."""
    items = [f"`{name}`" if quote else name for name in names]
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def written(value: object) -> str:
    """A value as YAML's flow style writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(written(item) for item in value) + "]"
    if isinstance(value, str) and value and not set(value) & set("{}[],&*#?|<>=!%@`\"'\\\n\t") and ": " not in value:
        return value
    return json.dumps(value, ensure_ascii=False)


def rest_of(text: str, start: int) -> str:
    """What follows in `text`, from the beginning of the word that `start` is in."""
    while 0 < start < len(text) and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    return text[start:].strip()


def some(names: list[str] | tuple[str, ...], limit: int = 3) -> str:
    """The first names of a list and how many more there are: `a, b, c and 12 more`."""
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
