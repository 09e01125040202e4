"""Prompts as other programs want them: brackets escaped, because they read emphasis there, and embeddings by file."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from recipe_runner.plan.resolved import ResolvedTextualInversion
from recipe_runner.recipe.learned_tokens import occurrences
from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from recipe_runner.plan.resolved import ResolvedAdapter
    from recipe_runner.plan.resolved_recipe import ResolvedVariant

_BRACKETS = {"a1111": r"[()\[\]\\]", "comfyui": r"[()\\]"}
_EMBEDDING = {"a1111": "{}", "comfyui": "embedding:{}"}


def foreign_prompt(text: str, variant: ResolvedVariant, syntax: Literal["a1111", "comfyui"]) -> str:
    """`text` for a program that finds an embedding by the name of its file, whatever the recipe's token is."""
    tokens = {
        adapter.token: file_name(adapter).rpartition(".")[0]
        for adapter in variant.adapters
        if isinstance(adapter, ResolvedTextualInversion) and adapter.token
    }
    parts, last = [], 0
    for found in occurrences(text, tokens):
        parts += [_escaped(text[last : found.start], syntax), _EMBEDDING[syntax].format(tokens[found.token])]
        last = found.end
    return "".join([*parts, _escaped(text[last:], syntax)])


def file_name(adapter: ResolvedAdapter) -> str:
    """The name of an adapter's file; its own name with a suffix where the file is not known."""
    source = adapter.sources.get("weights")
    named = None
    if isinstance(source, Source):
        named = source.files[0].name
    elif source is not None:
        named = source.written.weight_name
    name = PurePosixPath(named or adapter.name).name
    return name if "." in name else f"{name}.safetensors"


def _escaped(text: str, syntax: Literal["a1111", "comfyui"]) -> str:
    return re.sub(_BRACKETS[syntax], r"\\\g<0>", text)
