"""Which words of a prompt an encoder does not read: those past the end of its window, and tokens it has not learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe_runner.plan.checks.prompt_length import T5_LENGTH
from recipe_runner.problems.place import NOWHERE
from recipe_runner.problems.problem import Problem
from recipe_runner.problems.wording import rest_of
from recipe_runner.recipe.learned_tokens import same_token, uses
from recipe_runner.runtime.textual_inversion.tokenizer import LearnedTokenizer, Rewritten


def prompt_warnings(
    pipeline: Any, given: Mapping[str, str], *, guided: bool, max_sequence_length: int | None
) -> tuple[Problem, ...]:
    """A warning for each prompt of which an encoder misses something, with the words as the user wrote them."""
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
                found.append(
                    Problem.warning(NOWHERE, "W753", message, "use a file with vectors for every text encoder")
                )
    return tuple(found)


def _read(pipeline: Any, given: Mapping[str, str], *, guided: bool) -> Iterator[tuple[str, str, str]]:
    """Of each encoder (`""`, `_2`, `_3`) the prompts that it reads, with their names."""
    for number in ("", "_2", "_3"):
        if getattr(pipeline, f"tokenizer{number}", None) is None:
            continue
        if getattr(pipeline, f"text_encoder{number}", None) is None:
            continue
        for name in ("prompt", "negative_prompt") if guided else ("prompt",):
            text = given.get(f"{name}{number}") or given.get(name)
            if text:
                yield number, name, text


def _window(pipeline: Any, tokenizer: Any, max_sequence_length: int | None) -> int:
    if "T5" in type(tokenizer).__name__:
        return max_sequence_length or T5_LENGTH.get(type(pipeline).__name__, 512)
    return int(tokenizer.model_max_length)


def _lost(tokenizer: Any, text: str, window: int) -> str:
    """What stands past the window, in quotes; nothing when all of `text` is read."""
    exact = bool(getattr(tokenizer, "is_fast", False))
    encoded = tokenizer(text, padding=False, truncation=False, **({"return_offsets_mapping": True} if exact else {}))
    if len(encoded.input_ids) <= window:
        return ""
    # The last token of the window is the end mark; so is the last of the whole.
    if not exact:
        return f"`{str(tokenizer.decode(encoded.input_ids[window - 1 : -1])).strip()}`"
    written = tokenizer.rewrite(text) if isinstance(tokenizer, LearnedTokenizer) else Rewritten(text)
    begins = [start for start, _ in encoded.offset_mapping[1:-1]]
    lost = f"`{rest_of(text, written.original(begins[window - 2]))}`"
    cut = written.learned(begins[window - 2])
    if cut is None:
        return lost
    vectors = [written.learned(begin) == cut for begin in begins]
    read = sum(vectors[: window - 2])
    return f"{lost} (of `{text[cut.start : cut.stop]}` it reads {read} of {sum(vectors)} vectors)" if read else lost


def _not_learned(pipeline: Any, number: str) -> list[str]:
    """Tokens that another CLIP encoder has learned and this one has not, unless the recipe wants it so."""
    encoder = getattr(pipeline, f"text_encoder{number}")
    if not hasattr(getattr(encoder, "text_model", encoder), "embeddings"):
        return []
    readers = [getattr(pipeline, f"tokenizer{other}", None) for other in ("", "_2", "_3")]
    own = getattr(pipeline, f"tokenizer{number}")
    known = [same_token(token) for token in own.tokens] if isinstance(own, LearnedTokenizer) else []
    return [
        token
        for reader in readers
        if isinstance(reader, LearnedTokenizer)
        for token in reader.tokens
        if same_token(token) not in known and token not in reader.alone
    ]
