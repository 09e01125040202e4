"""Short texts for tables of images: names of axes and values, and text cut or wrapped to a width in pixels."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from recipe_runner.canonical import Json, canonical

Measure = Callable[[str], float]
"""The width of a text in pixels."""

ELLIPSIS = "…"
TIMES = "\u00d7"
"""The sign of multiplication, as in 64 by 64 pixels."""
_DASHES = {ord("\u2010"): "-", ord("\u2011"): "-", ord("\u2013"): "-", ord("\u2014"): "-", ord("\u2212"): "-"}


def axis_names(paths: Sequence[str]) -> dict[str, str]:
    """Each matrix axis by the shortest end of its path that is no other's, but of two parts where it has them."""
    names: dict[str, str] = {}
    for path in paths:
        parts = path.split(".")
        for count in range(min(2, len(parts)), len(parts) + 1):
            name = ".".join(parts[-count:])
            if sum(other == path or other.endswith(f".{name}") for other in paths) == 1:
                break
        names[path] = name
    return names


def value_text(value: Json) -> str:
    """A value of an axis as the recipe would write it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {value_text(part)}" for key, part in value.items()) or "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(value_text(part) for part in value)}]"
    return json.dumps(value)


def differing(values: Sequence[Json]) -> list[Json]:
    """The values of an axis without what is the same in all of them, where they are mappings: what tells them apart."""
    sections = [value for value in values if isinstance(value, Mapping)]
    if len(sections) < len(values) or not sections:
        return list(values)
    first = sections[0]
    same = {
        key
        for key, part in first.items()
        if all(key in other and canonical(other[key]) == canonical(part) for other in sections)
    }
    return [{key: part for key, part in section.items() if key not in same} or section for section in sections]


def heading(name: str, values: Sequence[Json]) -> tuple[str, list[str]]:
    """An axis's name and the texts of its values; a key that all of them begin with is said once, in the name."""
    shown = differing(values)
    keys = {next(iter(value), None) if isinstance(value, Mapping) else None for value in shown}
    key = next(iter(keys), None)
    if len(keys) != 1 or key is None:
        return name, [value_text(value) for value in shown]
    sections = [value for value in shown if isinstance(value, Mapping)]
    rest = [{other: part for other, part in section.items() if other != key} for section in sections]
    texts = [
        ", ".join(filter(None, (value_text(s[key]), value_text(r) if r else "")))
        for s, r in zip(sections, rest, strict=True)
    ]
    return f"{name}.{key}", texts


def image_name(prompt: str, seed: int, variant: Mapping[str, Json]) -> str:
    """`star, seed 1, outline.scale 0.5`."""
    names = axis_names(list(variant))
    values = [f"{names[axis]} {value_text(value)}" for axis, value in variant.items()]
    return ", ".join([prompt, f"seed {seed}", *values])


def drawable(text: str) -> str:
    """`text` for Pillow's built-in font, which has no accented letters: without accents and invisible characters.

    Letters of other scripts and emoji, which it has not either, stay and show as boxes.
    """
    plain = unicodedata.normalize("NFKD", text.translate(_DASHES).replace(ELLIPSIS, "\0"))
    kept = [letter for letter in plain if letter in "\n\t\0" or unicodedata.category(letter) not in ("Mn", "Cf", "Cc")]
    return "".join(kept).replace("\0", ELLIPSIS)


def cut(text: str, width: float, measure: Measure, *, keep_end: bool = False) -> str:
    """`text` on one line, cut to `width` pixels with an ellipsis; with `keep_end` it is the beginning that goes."""
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
    return _shortened(line, low, keep_end=keep_end) if low else ""


def wrap(text: str, width: float, lines: int, measure: Measure) -> list[str]:
    """`text` in at most `lines` lines of `width` pixels, the last cut with an ellipsis where it does not fit."""
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
    return ELLIPSIS + line[len(line) - count :].lstrip() if keep_end else line[:count].rstrip() + ELLIPSIS
