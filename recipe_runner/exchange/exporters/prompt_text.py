"""Write prompts for other programs, with escaped brackets, which mean emphasis there, and with names of embeddings."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from recipe_runner.pipelines import table as diffusers_table
from recipe_runner.plan.resolved import ResolvedTextualInversion
from recipe_runner.recipe.learned_tokens import occurrences
from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from recipe_runner.plan.resolved import ResolvedAdapter
    from recipe_runner.plan.resolved_recipe import ResolvedVariant

_BRACKETS = {"a1111": r"[()\[\]\\]", "comfyui": r"[()\\]"}
_EMBEDDING = {"a1111": "{}", "comfyui": "embedding:{}"}


def foreign_prompt(text: str, variant: ResolvedVariant, syntax: Literal["a1111", "comfyui"]) -> str:
    """`text` for a program that finds embeddings by the names of their files instead of the recipe's tokens."""
    tokens = embedding_names(variant)
    parts, last = [], 0
    for found in occurrences(text, tokens):
        parts += [_escaped(text[last : found.start], syntax), _EMBEDDING[syntax].format(tokens[found.token])]
        last = found.end
    return "".join([*parts, _escaped(text[last:], syntax)])


def embedding_names(variant: ResolvedVariant) -> dict[str, str]:
    """The name of each embedding's file without its suffix, by token."""
    names = {}
    for adapter in variant.adapters:
        if isinstance(adapter, ResolvedTextualInversion) and adapter.token:
            names[adapter.token] = file_name(adapter).rpartition(".")[0]
    return names


def file_name(adapter: ResolvedAdapter) -> str:
    """The name of an adapter's file; when it is unknown, the adapter's name with a suffix."""
    source = adapter.sources.get("weights")
    path = None
    if isinstance(source, Source):
        path = source.files[0].name
    elif source is not None:
        path = source.written.weight_name
    return with_suffix(PurePosixPath(path or adapter.name).name)


def with_suffix(name: str) -> str:
    """The name of a weights file, with `.safetensors` when it has no suffix."""
    if "." in name:
        return name
    return f"{name}.safetensors"


def unusual_arguments(variant: ResolvedVariant, written: Container[str]) -> list[str]:
    """The arguments of the call that are not in `written` and differ from the defaults of the pipeline."""
    defaults = diffusers_table.call_defaults(variant.base.pipeline)
    found = []
    for name, value in variant.sampling.items():
        if name not in written and defaults.get(name) != value:
            found.append(name)
    return found


def _escaped(text: str, syntax: Literal["a1111", "comfyui"]) -> str:
    return re.sub(_BRACKETS[syntax], r"\\\g<0>", text)
