"""Warn of words that a text encoder does not read: those past the end of its window, and tokens without vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe_runner.pipelines.family import t5_length
from recipe_runner.problems.place import NOWHERE
from recipe_runner.problems.problem import Problem
from recipe_runner.problems.wording import rest_of
from recipe_runner.recipe.learned_tokens import same_token, uses
from recipe_runner.runtime.textual_inversion.tokenizer import LearnedTokenizer, Rewritten

_NUMBERS = ("", "_2", "_3")


def prompt_warnings(
    pipeline: Any, given: Mapping[str, str], *, guided: bool, max_sequence_length: int | None
) -> tuple[Problem, ...]:
    """A warning for each prompt that an encoder does not read completely, with the words as the user wrote them."""
    found: list[Problem] = []
    for number, name, text in _read(pipeline, given, guided=guided):
        encoder = f"text encoder{number.replace('_', ' ')}"
        tokenizer = getattr(pipeline, f"tokenizer{number}")
        window = _window(pipeline, tokenizer, max_sequence_length)
        lost = _lost(tokenizer, text, window)
        if lost:
            message = f"{name}: {encoder} reads {window} tokens; it does not see {lost}"
            found.append(Problem.warning(NOWHERE, "W751", message, "shorten the prompt, or put what matters first"))
        for token in _not_learned(pipeline, number):
            if uses(text, [token]):
                message = f"{name}: {encoder} has no vectors for `{token}` and reads it as plain text"
                hint = "use a file with vectors for every text encoder"
                found.append(Problem.warning(NOWHERE, "W753", message, hint))
    return tuple(found)


def _read(pipeline: Any, given: Mapping[str, str], *, guided: bool) -> Iterator[tuple[str, str, str]]:
    """The prompts that each encoder (`""`, `_2`, `_3`) reads, with their names."""
    names = ("prompt", "negative_prompt") if guided else ("prompt",)
    for number in _NUMBERS:
        if getattr(pipeline, f"tokenizer{number}", None) is None:
            continue
        if getattr(pipeline, f"text_encoder{number}", None) is None:
            continue
        for name in names:
            text = given.get(f"{name}{number}") or given.get(name)
            if text:
                yield number, name, text


def _window(pipeline: Any, tokenizer: Any, max_sequence_length: int | None) -> int:
    if "T5" in type(tokenizer).__name__:
        return max_sequence_length or t5_length(type(pipeline).__name__)
    return int(tokenizer.model_max_length)


def _lost(tokenizer: Any, text: str, window: int) -> str:
    """The part of `text` past the window, in quotes; empty when the encoder reads all of it."""
    # The last token of the window is the end mark, and so is the last of all tokens.
    if not getattr(tokenizer, "is_fast", False):
        ids = tokenizer(text, padding=False, truncation=False).input_ids
        if len(ids) <= window:
            return ""
        return f"`{str(tokenizer.decode(ids[window - 1 : -1])).strip()}`"
    encoded = tokenizer(text, padding=False, truncation=False, return_offsets_mapping=True)
    if len(encoded.input_ids) <= window:
        return ""
    written = tokenizer.rewrite(text) if isinstance(tokenizer, LearnedTokenizer) else Rewritten(text)
    begins = [start for start, _ in encoded.offset_mapping[1:-1]]
    lost = f"`{rest_of(text, written.original(begins[window - 2]))}`"
    cut = written.learned(begins[window - 2])
    if cut is None:
        return lost
    is_cut = [written.learned(begin) == cut for begin in begins]
    read = sum(is_cut[: window - 2])
    if not read:
        return lost
    return f"{lost} (of `{text[cut.start : cut.stop]}` it reads {read} of {sum(is_cut)} vectors)"


def _not_learned(pipeline: Any, number: str) -> list[str]:
    """Tokens that another CLIP encoder has learned and this one has not, except those meant for one encoder only."""
    encoder = getattr(pipeline, f"text_encoder{number}")
    if not hasattr(getattr(encoder, "text_model", encoder), "embeddings"):
        return []
    known = set(map(same_token, _learned(pipeline, number)))
    found = []
    for other in _NUMBERS:
        for token, alone in _learned(pipeline, other).items():
            if not alone and same_token(token) not in known:
                found.append(token)
    return found


def _learned(pipeline: Any, number: str) -> dict[str, bool]:
    """The learned tokens of an encoder, and whether each is meant for this encoder only."""
    tokenizer = getattr(pipeline, f"tokenizer{number}", None)
    if not isinstance(tokenizer, LearnedTokenizer):
        return {}
    return {token: token in tokenizer.alone for token in tokenizer.tokens}
