"""Compare texts word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from recipe_runner.diff.difference import Word

if TYPE_CHECKING:
    from typing import Literal

_KEPT = 0.4
"""If both texts share less than this part of the shorter one, they are shown as replaced."""
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


def compare_words(old: str, new: str) -> tuple[Word, ...]:
    """The pieces of both texts in reading order; removed words come before the words that replace them."""
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    # The common beginning and end are most of a long text, and the comparison takes quadratic time.
    start = _common(before, after)
    end = _common(list(reversed(before[start:])), list(reversed(after[start:])))
    middle = before[start : len(before) - end], after[start : len(after) - end]
    pieces: list[Word] = []
    _add(pieces, " ", before[:start])
    for operation, a, b, c, d in SequenceMatcher(None, *middle, autojunk=False).get_opcodes():
        if operation == "equal":
            _add(pieces, " ", middle[0][a:b])
        else:
            _add(pieces, "-", middle[0][a:b])
            _add(pieces, "+", middle[1][c:d])
    _add(pieces, " ", before[len(before) - end :])
    kept = sum(len(piece.text) for piece in pieces if piece.sign == " ")
    if kept < _KEPT * min(len(old), len(new)):
        # A different text: the few words that both have would only make it hard to read.
        pieces = []
        _add(pieces, "-", [old])
        _add(pieces, "+", [new])
    return tuple(pieces)


def _common(first: list[str], second: list[str]) -> int:
    """How many tokens both lists have in common at their beginning."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def _add(pieces: list[Word], sign: Literal[" ", "-", "+"], tokens: list[str]) -> None:
    text = "".join(tokens)
    if text:
        pieces.append(Word(sign, text))
