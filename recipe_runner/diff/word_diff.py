"""Texts compared word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from recipe_runner.diff.difference import Word

if TYPE_CHECKING:
    from typing import Literal

_KEPT = 0.4
"""The share of the shorter text that both have, below which one was replaced by the other."""
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


def compare_words(old: str, new: str) -> tuple[Word, ...]:
    """The pieces of both texts in reading order; what was removed stands before what came for it."""
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    # What both begin and end with is most of a long text, and the comparison takes quadratic time.
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
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
        # Another text altogether: words that both happen to have only make it hard to read.
        return tuple(word for word in (Word("-", old), Word("+", new)) if word.text)
    return tuple(pieces)


def _add(pieces: list[Word], sign: Literal[" ", "-", "+"], tokens: list[str]) -> None:
    if tokens:
        pieces.append(Word(sign, "".join(tokens)))
