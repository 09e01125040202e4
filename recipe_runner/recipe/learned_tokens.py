"""Find the tokens of learned embeddings in a prompt: the one rule for warnings, plans and encoding.

Upper and lower case are equal, as in A1111 (and in CLIP, which reads lower case). When two tokens begin at the same
place, the longer one counts: `bad-artist-2` is never `bad-artist` and `-2`. A token that begins or ends with a letter,
digit or underscore matches only when no such character is next to it: `art` is not in `party`, `tok` is not in `tok_1`.
A token in brackets, such as `<cat-toy>`, needs no space around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

from recipe_runner.problems.suggest import nearest

_WORD = r"[\w\u0300-\u036f]"
"""A letter, digit or underscore, or a combining accent."""
_WORD_OR_TOKEN = re.compile(r"<[^<>\s]+>|[\w-]+")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """`text[start:end]` is `token`, in any case."""

    token: str
    start: int
    end: int


def same_token(token: str) -> str:
    """A form that is equal for all spellings of one token."""
    return normalize("NFC", token).casefold()


def occurrences(text: str, tokens: Iterable[str]) -> Iterator[Occurrence]:
    """The places of `tokens` in `text`, from left to right, without overlaps."""
    ordered = tuple(sorted(set(tokens), key=lambda token: (-len(token), token)))
    if not ordered:
        return
    for match in _pattern(ordered).finditer(text):
        yield Occurrence(ordered[(match.lastindex or 1) - 1], match.start(), match.end())


def uses(text: str, tokens: Iterable[str]) -> bool:
    """Whether `text` contains any of `tokens`."""
    return next(occurrences(text, tokens), None) is not None


def misspelt(token: str, texts: Iterable[str]) -> str | None:
    """The word in `texts` that is probably a misspelling of `token`."""
    words: dict[str, None] = {}
    for text in texts:
        words.update(dict.fromkeys(_WORD_OR_TOKEN.findall(text)))
    return nearest(token, words)


@lru_cache(maxsize=256)
def _pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_alone, tokens)), re.IGNORECASE)


def _alone(token: str) -> str:
    # A letter with its accent is one character or two; CLIP reads both as one.
    forms = dict.fromkeys((token, normalize("NFC", token), normalize("NFD", token)))
    pattern = f"({'|'.join(map(re.escape, forms))})"
    if re.match(_WORD, token[0]):
        pattern = rf"(?<!{_WORD}){pattern}"
    if re.match(_WORD, token[-1]):
        pattern = rf"{pattern}(?!{_WORD})"
    return pattern
