"""A tokenizer that reads learned tokens: a copy of the base's tokenizer, which does not change."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import AddedToken

from recipe_runner.recipe.learned_tokens import occurrences

_MARK = "\uffff"
"""Encloses the number of a vector in a prompt: Unicode defines this code point as not a character."""
_FORGED = re.compile(rf"{_MARK}(?=\d)")


@dataclass(frozen=True)
class Rewritten:
    """A prompt with every learned token written as its vectors.

    `pieces` are (start in `text`, start in the prompt, whether it is copied from the prompt), in order.
    """

    text: str
    pieces: tuple[tuple[int, int, bool], ...] = ((0, 0, True),)

    def original(self, position: int) -> int:
        """The position in the user's prompt of a position in `text`; within a learned token, the token's start."""
        begins, came_from, copied = self._piece(position)
        return came_from + position - begins if copied else came_from

    def learned(self, position: int) -> range | None:
        """The range in the user's prompt of the learned token at a position in `text`, if there is one."""
        piece = self._piece(position)
        _, start, copied = piece
        if copied:
            return None
        _, end, _ = self.pieces[self.pieces.index(piece) + 1]
        return range(start, end)

    def _piece(self, position: int) -> tuple[int, int, bool]:
        return max(piece for piece in self.pieces if piece[0] <= position)


class LearnedTokenizer:
    """Mixed into a copy of a tokenizer. Vectors are added tokens of the copy; which vectors make a token can change.

    diffusers adds tokens with the learned token's own name, and searches the tokenized prompt for them. That misses
    tokens with capitals and confuses tokens that begin alike.
    """

    first: int
    """Id of the first vector."""
    vectors: int
    """How many vectors there are."""
    tokens: Mapping[str, range]
    """The learned tokens and the vectors of each."""
    alone: Collection[str]
    """Tokens that are meant for this tokenizer's encoder only."""

    def add_vectors(self: Any, count: int) -> None:
        """Add tokens until there are `count`, with consecutive ids."""
        new = _vector_texts(range(self.vectors, count))
        if not new:
            return
        self.add_tokens([AddedToken(text, normalized=False) for text in new])
        ids = self.convert_tokens_to_ids(new)
        if not self.vectors:
            self.first = ids[0]
        if ids != list(range(self.first + self.vectors, self.first + count)):
            message = f"BUG: vectors got the ids {ids}"
            raise AssertionError(message)
        self.vectors = count

    def rewrite(self, text: str) -> Rewritten:
        """`text` with the vectors of each learned token in its place."""
        # CLIP's tokenizer splits a mark and a digit anyway; with a space between them a prompt cannot forge a vector.
        text = _FORGED.sub(f"{_MARK} ", text)
        written, pieces, done = "", [(0, 0, True)], 0
        for found in occurrences(text, self.tokens):
            written += text[done : found.start]
            pieces.append((len(written), found.start, False))
            written += "".join(_vector_texts(self.tokens[found.token]))
            done = found.end
            pieces.append((len(written), done, True))
        return Rewritten(written + text[done:], tuple(pieces))

    def _encode_plus(self, text: Any, *arguments: Any, **named: Any) -> Any:
        # Every method of a tokenizer that reads text calls this one.
        return super()._encode_plus(self._rewritten(text), *arguments, **named)  # type: ignore[misc]

    def _rewritten(self, text: Any) -> Any:
        if isinstance(text, str):
            return self.rewrite(text).text
        return list(map(self._rewritten, text))


def _vector_texts(numbers: range) -> list[str]:
    return [f"{_MARK}{number}{_MARK}" for number in numbers]


def reading_copy(tokenizer: Any) -> Any:
    """A copy of `tokenizer` that can read learned tokens; it has none yet."""
    reader = copy.deepcopy(tokenizer)
    reader.__class__ = _reading_class(type(tokenizer))
    reader.first, reader.vectors, reader.tokens, reader.alone = len(tokenizer), 0, {}, ()
    return reader


def _reading_class(tokenizer: type[Any]) -> type[Any]:
    return type(tokenizer.__name__, (LearnedTokenizer, tokenizer), {})
