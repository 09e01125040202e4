"""A tokenizer that reads learned tokens: a copy of the base's, which itself stays as it is."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import AddedToken

from recipe_runner.recipe.learned_tokens import occurrences

_MARK = "\uffff"
"""Begins and ends what stands for a vector in a prompt, its number: no character, by Unicode's own account."""
_FORGED = re.compile(rf"{_MARK}(?=\d)")


@dataclass(frozen=True)
class Rewritten:
    """A prompt with every learned token written as its vectors. `pieces` say where what was copied comes from."""

    text: str
    pieces: tuple[tuple[int, int, bool], ...] = ((0, 0, True),)

    def original(self, position: int) -> int:
        """The place in the user's prompt of a place in `text`; within a learned token, of its beginning."""
        begins, came_from, copied = self._piece(position)
        return came_from + (position - begins if copied else 0)

    def learned(self, position: int) -> range | None:
        """The places in the user's prompt of the learned token that stands at a place in `text`, if one does."""
        piece = self._piece(position)
        return None if piece[2] else range(piece[1], self.pieces[self.pieces.index(piece) + 1][1])

    def _piece(self, position: int) -> tuple[int, int, bool]:
        return max(piece for piece in self.pieces if piece[0] <= position)


class LearnedTokenizer:
    """Mixed into a copy of a tokenizer. Vectors are added tokens of the copy; which of them make a token, changes.

    diffusers' way, added tokens with the learned token's own name and a rewriting that looks for them in the tokenized
    prompt, misses tokens with capitals and confuses those that begin alike.
    """

    first: int
    """Id of the first vector."""
    vectors: int
    """How many vectors there are."""
    tokens: Mapping[str, range]
    """The learned tokens and the vectors that each is."""
    alone: Collection[str]
    """Tokens that are meant for this tokenizer's encoder only."""

    def add_vectors(self: Any, count: int) -> None:
        """Have at least `count` added tokens, with ids that follow each other."""
        new = [f"{_MARK}{number}{_MARK}" for number in range(self.vectors, count)]
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
        # CLIP's tokenizer parts a mark and a digit anyway; apart, they are no vector that a prompt could make up.
        text = _FORGED.sub(f"{_MARK} ", text)
        written, pieces, done = "", [(0, 0, True)], 0
        for found in occurrences(text, self.tokens):
            written += text[done : found.start]
            pieces.append((len(written), found.start, False))
            written += "".join(f"{_MARK}{number}{_MARK}" for number in self.tokens[found.token])
            done = found.end
            pieces.append((len(written), done, True))
        return Rewritten(written + text[done:], tuple(pieces))

    def _encode_plus(self, text: Any, *arguments: Any, **named: Any) -> Any:
        # All of a tokenizer's ways to read text end here.
        return super()._encode_plus(self._rewritten(text), *arguments, **named)  # type: ignore[misc]

    def _rewritten(self, text: Any) -> Any:
        return self.rewrite(text).text if isinstance(text, str) else [self._rewritten(each) for each in text]


def reading_copy(tokenizer: Any) -> Any:
    """A copy of `tokenizer` that reads learned tokens; it knows none yet."""
    reader = copy.deepcopy(tokenizer)
    reader.__class__ = _reading_class(type(tokenizer))
    reader.first, reader.vectors, reader.tokens, reader.alone = len(tokenizer), 0, {}, ()
    return reader


def _reading_class(tokenizer: type[Any]) -> type[Any]:
    return type(tokenizer.__name__, (LearnedTokenizer, tokenizer), {})
