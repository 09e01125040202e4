"""Short texts for tables of images: names of axes and values, and text cut or wrapped to a width in pixels."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence

from recipe_runner.canonical import Json, canonical

Measure = Callable[[str], float]
"""The width of a text in pixels."""

ELLIPSIS = "…"
TIMES = "\u00d7"
"""The sign of multiplication, as in 64 by 64 pixels."""
_DASHES = {ord("\u2010"): "-", ord("\u2011"): "-", ord("\u2013"): "-", ord("\u2014"): "-", ord("\u2212"): "-"}


def axis_names(paths: Sequence[str]) -> dict[str, str]:
    """Each matrix axis with the shortest unique end of its path, of at least two parts if it has them."""
    names: dict[str, str] = {}
    for path in paths:
        parts = path.split(".")
        for count in range(min(2, len(parts)), len(parts) + 1):
            name = ".".join(parts[-count:])
            if _is_unique(name, path, paths):
                break
        names[path] = name
    return names


def _is_unique(name: str, path: str, paths: Sequence[str]) -> bool:
    """Whether only `path` ends with `name`."""
    return not any(other != path and other.endswith(f".{name}") for other in paths)


def value_text(value: Json) -> str:
    """A value of an axis as text, as in a recipe."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {value_text(part)}" for key, part in value.items()) or "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(value_text, value))}]"
    return json.dumps(value)


def differing(values: Sequence[Json]) -> list[Json]:
    """The values of an axis; if all are mappings, without the keys that have the same value in all of them."""
    sections = [value for value in values if isinstance(value, Mapping)]
    if len(sections) < len(values) or not sections:
        return list(values)
    same = {key for key in sections[0] if _is_shared(key, sections)}
    return [_without(section, same) or section for section in sections]


def _is_shared(key: str, sections: Sequence[Mapping[str, Json]]) -> bool:
    """Whether all sections have the same value under `key`."""
    first = canonical(sections[0][key])
    return all(key in section and canonical(section[key]) == first for section in sections)


def _without(section: Mapping[str, Json], keys: Collection[str]) -> dict[str, Json]:
    return {key: part for key, part in section.items() if key not in keys}


def heading(name: str, values: Sequence[Json]) -> tuple[str, list[str]]:
    """An axis's name and the texts of its values; if all values begin with the same key, the name has it once."""
    shown = differing(values)
    keys = set(map(_first_key, shown))
    key = None
    if len(keys) == 1:
        key = keys.pop()
    if key is None:
        return name, list(map(value_text, shown))
    sections = [value for value in shown if isinstance(value, Mapping)]
    return f"{name}.{key}", [_text_below(section, key) for section in sections]


def _first_key(value: Json) -> str | None:
    if not isinstance(value, Mapping):
        return None
    return next(iter(value), None)


def _text_below(section: Mapping[str, Json], key: str) -> str:
    """The text of a section whose first `key` is shown elsewhere."""
    text = value_text(section[key])
    rest = _without(section, (key,))
    if not rest:
        return text
    if not text:
        return value_text(rest)
    return f"{text}, {value_text(rest)}"


def image_name(prompt: str, seed: int, variant: Mapping[str, Json]) -> str:
    """`star, seed 1, outline.scale 0.5`."""
    names = axis_names(list(variant))
    values = [f"{names[axis]} {value_text(value)}" for axis, value in variant.items()]
    return ", ".join([prompt, f"seed {seed}", *values])


def drawable(text: str) -> str:
    """`text` without accents and invisible characters, because Pillow's built-in font has no accented letters.

    Letters of other scripts and emoji, which the font does not have either, are kept and show as boxes.
    """
    plain = unicodedata.normalize("NFKD", text.translate(_DASHES).replace(ELLIPSIS, "\0"))
    kept = "".join(filter(_is_drawable, plain))
    return kept.replace("\0", ELLIPSIS)


def _is_drawable(letter: str) -> bool:
    return letter in "\n\t\0" or unicodedata.category(letter) not in ("Mn", "Cf", "Cc")


def cut(text: str, width: float, measure: Measure, *, keep_end: bool = False) -> str:
    """`text` on one line, cut to `width` pixels with an ellipsis; `keep_end` cuts the beginning instead of the end."""
    line = " ".join(text.split())
    if measure(line) <= width:
        return line
    # The longest part that fits, by bisection: a prompt may have thousands of letters.
    low, high = 0, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        if measure(_shortened(line, middle, keep_end=keep_end)) <= width:
            low = middle
        else:
            high = middle - 1
    if not low:
        return ""
    return _shortened(line, low, keep_end=keep_end)


def wrap(text: str, width: float, lines: int, measure: Measure) -> list[str]:
    """`text` in at most `lines` lines of `width` pixels; the last line is cut with an ellipsis if it is too long."""
    words = text.split()
    wrapped: list[str] = []
    while words and len(wrapped) < lines:
        if len(wrapped) == lines - 1:
            wrapped.append(cut(" ".join(words), width, measure))
            break
        count = 1
        while count < len(words) and measure(" ".join(words[: count + 1])) <= width:
            count += 1
        wrapped.append(cut(" ".join(words[:count]), width, measure))
        words = words[count:]
    return wrapped


def _shortened(line: str, count: int, *, keep_end: bool) -> str:
    if keep_end:
        start = len(line) - count
        return ELLIPSIS + line[start:].lstrip()
    return line[:count].rstrip() + ELLIPSIS
