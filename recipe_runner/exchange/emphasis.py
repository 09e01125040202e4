"""Plain words for programs that read brackets as emphasis."""

from __future__ import annotations

import re
from typing import Literal

_BRACKETS = {"a1111": r"[()\[\]\\]", "comfyui": r"[()\\]"}


def escaped(text: str, syntax: Literal["a1111", "comfyui"]) -> str:
    """`text` with a backslash before each letter that the program would read as notation."""
    return re.sub(_BRACKETS[syntax], r"\\\g<0>", text)
