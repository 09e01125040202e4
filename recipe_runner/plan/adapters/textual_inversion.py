"""Resolve a textual inversion: its embedding file, its token, and the text encoders that it fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipe_runner.plan.adapters.kind import ResolveContext
from recipe_runner.plan.adapters.lora import modules_of
from recipe_runner.plan.adapters.weights_file import find_weights_file
from recipe_runner.plan.resolved import ResolvedTextualInversion
from recipe_runner.plan.resolved_base import AnySource
from recipe_runner.problems.place import Place
from recipe_runner.recipe.types.recipe import TextualInversion
from recipe_runner.sources.source import Source
from recipe_runner.weights.embedding import (
    Embedding,
    identify_embedding,
    place_embedding,
    require_embedding,
    token_of,
)
from recipe_runner.weights.files.contents import read_weights
from recipe_runner.weights.identify.other_kind import suggest_other_kind
from recipe_runner.weights.modules import ModuleTable

USUAL = ("learned_embeds.safetensors", "learned_embeds.bin")
"""The file names of diffusers' trainers."""


def resolve(name: str, entry: Mapping[str, Any], context: ResolveContext, origin: Place) -> ResolvedTextualInversion:
    """Find the file, and check from its header that it is an embedding, has a token and fits the base's encoders.

    Raises:
        RecipeRunnerError: E4xx the file is broken or refused; E620 it has no token; E621 it is not an embedding; E622,
            E623 it does not fit the base.
    """
    inversion = TextualInversion.model_validate(entry)
    base = context.base
    modules = modules_of(context)
    place = ("textual_inversion", name, *inversion.model_dump().values(), base.number)
    found: ResolvedTextualInversion = context.once(place, lambda: _decide(name, inversion, modules, context, origin))
    return found


def _decide(
    name: str, inversion: TextualInversion, modules: ModuleTable | None, context: ResolveContext, origin: Place
) -> ResolvedTextualInversion:
    source = find_weights_file(inversion, context, USUAL)
    token = inversion.token
    tensors: dict[str, int] | None = None
    counts: dict[str, int] = {}
    embedding = _embedding(source, inversion.token, f"adapter {name}")
    if embedding is not None and isinstance(source, Source):
        token = token or token_of(embedding, source.files[0].name, f"adapter {name}")
        if modules is not None:
            placed = place_embedding(embedding, modules, target=inversion.target, label=f"adapter {name}")
            tensors = dict.fromkeys(placed, 1)
            counts = {part: vectors.count for part, vectors in placed.items()}
    tokens: dict[str, dict[str, int]] = {}
    if token:
        tokens[token] = counts
    return ResolvedTextualInversion(
        name=name,
        source=source,
        token=token,
        target=inversion.target,
        tensors=tensors,
        tokens=tokens,
        origin=origin,
    )


def _embedding(source: AnySource, token: str | None, label: str) -> Embedding | None:
    """The embedding in the file; None if it is missing. A pickle is read without unpickling it."""
    if not isinstance(source, Source):
        return None
    contents = read_weights(source.path(source.files[0].name), label)
    name = contents.values.get("name")
    if not isinstance(name, str):
        name = None
    found = identify_embedding(contents.shapes, dtypes=contents.dtypes, name=name, token=token)
    with suggest_other_kind(contents, "textual_inversion"):
        return require_embedding(found, label)
