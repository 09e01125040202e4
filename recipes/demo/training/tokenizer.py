"""A CLIP tokenizer that knows each word of the captions as one token and spells any other text in bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

END_OF_WORD: Final = "</w>"
MAX_LENGTH: Final = 24


def learn_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return byte-pair merges, in order, that make each word one token: always the most frequent pair first."""
    split = [[*word[:-1], word[-1] + END_OF_WORD] for word in words]
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for pieces in split for pair in pairwise(pieces))
        if not pairs:
            return merges
        best = max(sorted(pairs), key=pairs.__getitem__)
        merges.append(best)
        for pieces in split:
            at = 0
            while at < len(pieces) - 1:
                if (pieces[at], pieces[at + 1]) == best:
                    pieces[at : at + 2] = ["".join(best)]
                at += 1


def build_tokenizer(words: Sequence[str]) -> CLIPTokenizer:
    """Return the tokenizer: all bytes, all bytes that end a word, the merges, and the two marks of CLIP."""
    alphabet = sorted(ByteLevel.alphabet())
    merges = learn_merges(words)
    tokens = [*alphabet, *(letter + END_OF_WORD for letter in alphabet), *("".join(merge) for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_LENGTH)
