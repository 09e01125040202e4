"""Which words of a prompt fall off the end of an encoder's window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipe_runner.errors import Problem
from recipe_runner.runtime.problems import warning

_T5_LENGTH = {"StableDiffusion3Pipeline": 256, "FluxPipeline": 512}
"""Default `max_sequence_length` of the pipelines that have a T5 encoder."""


def truncation_warnings(
    pipeline: Any, given: Mapping[str, str], *, guided: bool, max_sequence_length: int | None
) -> tuple[Problem, ...]:
    """A warning for each prompt that is longer than what an encoder reads, with the words that it does not."""
    found: list[Problem] = []
    for number in ("", "_2", "_3"):
        tokenizer = getattr(pipeline, f"tokenizer{number}", None)
        if tokenizer is None or getattr(pipeline, f"text_encoder{number}", None) is None:
            continue
        window = _window(pipeline, tokenizer, max_sequence_length)
        for prefix in ("", "negative_") if guided else ("",):
            name = f"{prefix}prompt"
            text = given.get(f"{name}{number}") or given.get(name)
            lost = _lost(tokenizer, text, window) if text else ""
            if lost:
                found.append(
                    warning(
                        "W751",
                        f"{name}: text encoder{number.replace('_', ' ')} reads {window} tokens; "
                        f"it does not see `{lost}`",
                        "shorten the prompt, or put what matters first",
                    )
                )
    return tuple(found)


def _window(pipeline: Any, tokenizer: Any, max_sequence_length: int | None) -> int:
    if "T5" in type(tokenizer).__name__:
        return max_sequence_length or _T5_LENGTH.get(type(pipeline).__name__, 512)
    return int(tokenizer.model_max_length)


def _lost(tokenizer: Any, text: str, window: int) -> str:
    ids = tokenizer(text, padding=False, truncation=False).input_ids
    if len(ids) <= window:
        return ""
    # The last token of the window is the end mark; so is the last of the whole.
    return str(tokenizer.decode(ids[window - 1 : -1])).strip()
