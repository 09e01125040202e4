"""Pieces of text that several outputs share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from recipe_runner.report.escape import one_line


def shortened(text: str, longest: int) -> str:
    """`text`, cut to `longest` characters with an ellipsis at its end."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - 1]}…"


def first_of(lines: Sequence[str], most: int) -> list[str]:
    """The first `most` lines, and a line that counts the rest."""
    if len(lines) <= most:
        return list(lines)
    return [*lines[:most], f"… and {len(lines) - most} more"]


def amounts(counts: Mapping[str, object]) -> str:
    """`unet 20, text_encoder 4`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def text_of(lines: Iterable[str]) -> str:
    """`lines` as one text; each is escaped, and stays on one line."""
    return "".join(f"{one_line(line)}\n" for line in lines)
