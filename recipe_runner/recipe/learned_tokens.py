"""Where the tokens of learned embeddings stand in a prompt: one rule, for what warns, what plans and what encodes.

Upper and lower case are one, as in A1111 (and in CLIP, which reads lower case). Where two tokens begin at one place,
the longer is meant: `bad-artist-2` is never `bad-artist` and `-2`. A token that begins or ends with a letter, digit or
underscore stands there only where no such character adjoins: `art` is not in `party`, nor `tok` in `tok_1`. One in
brackets, as `<cat-toy>`, may touch anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

from recipe_runner.problems.suggest import nearest

_WORD = r"[\w\u0300-\u036f]"
"""A letter, digit or underscore, or an accent on one."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """`text[start:end]` stands for `token`, whatever its case."""

    token: str
    start: int
    end: int


def same_token(token: str) -> str:
    """What two spellings of one token have in common."""
    return normalize("NFC", token).casefold()


def occurrences(text: str, tokens: Iterable[str]) -> Iterator[Occurrence]:
    """Where `tokens` stand in `text`, from left to right; none overlap."""
    ordered = tuple(sorted(set(tokens), key=lambda token: (-len(token), token)))
    if not ordered:
        return
    for match in _pattern(ordered).finditer(text):
        yield Occurrence(ordered[(match.lastindex or 1) - 1], match.start(), match.end())


def uses(text: str, tokens: Iterable[str]) -> bool:
    """Whether any of `tokens` stands in `text`."""
    return next(occurrences(text, tokens), None) is not None


def misspelt(token: str, texts: Iterable[str]) -> str | None:
    """The word of `texts` that is probably meant to be `token`."""
    words = dict.fromkeys(word for text in texts for word in re.findall(r"<[^<>\s]+>|[\w-]+", text))
    return nearest(token, words)


@lru_cache(maxsize=256)
def _pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(_alone(token) for token in tokens), re.IGNORECASE)


def _alone(token: str) -> str:
    before = rf"(?<!{_WORD})" if re.match(_WORD, token[0]) else ""
    after = rf"(?!{_WORD})" if re.match(_WORD, token[-1]) else ""
    # A letter with its accent is one character or two; CLIP reads both as one.
    forms = dict.fromkeys((token, normalize("NFC", token), normalize("NFD", token)))
    return f"{before}({'|'.join(re.escape(form) for form in forms)}){after}"
