"""Colours of texts on a terminal."""

from __future__ import annotations

import os
from typing import TextIO

_COLOURS = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "place": "\x1b[1m",
    "frame": "\x1b[34m",
    "help": "\x1b[32m",
    "head": "\x1b[1m",
    "+": "\x1b[32m",
    "-": "\x1b[31m",
    "~": "\x1b[33m",
}
_RESET = "\x1b[0m"


def wants_colour(stream: TextIO) -> bool:
    """Whether a stream is a terminal, unless the user asked for plain text (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(role: str, text: str, *, colour: bool) -> str:
    """`text` in the colour of its role; unchanged without `colour`."""
    if not colour:
        return text
    return f"{_COLOURS[role]}{text}{_RESET}"
