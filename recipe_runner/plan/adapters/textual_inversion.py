"""Textual inversion: an embedding file, the token that stands for it, and the text encoders that it lands in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipe_runner.plan.adapters.kind import ResolveContext
from recipe_runner.plan.adapters.lora import modules_of
from recipe_runner.plan.adapters.weights_file import find_weights_file
from recipe_runner.plan.resolved import AnySource, ResolvedTextualInversion
from recipe_runner.problems.place import Place
from recipe_runner.recipe.types.recipe import TextualInversion
from recipe_runner.sources.source import Source
from recipe_runner.weights.embedding import (
    Embedding,
    Vectors,
    identify_embedding,
    place_embedding,
    require_embedding,
    token_of,
)
from recipe_runner.weights.files.contents import read_weights
from recipe_runner.weights.identify.other_kind import suggest_other_kind
from recipe_runner.weights.modules import ModuleTable

USUAL = ("learned_embeds.safetensors", "learned_embeds.bin")
"""The names of diffusers' trainers."""


def resolve(name: str, entry: Mapping[str, Any], context: ResolveContext, origin: Place) -> ResolvedTextualInversion:
    """Find the file, and prove from its header that it is an embedding, has a token and fits the base's encoders.

    Raises:
        RecipeRunnerError: E4xx the file is broken or refused; E620 it has no token; E621 it is no embedding; E622, E623
            it does not fit the base.
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
    placed: Mapping[str, Vectors] | None = None
    embedding = _embedding(source, inversion.token, f"adapter {name}")
    if embedding is not None and isinstance(source, Source):
        token = token or token_of(embedding, source.files[0].name, f"adapter {name}")
        if modules is not None:
            placed = place_embedding(embedding, modules, target=inversion.target, label=f"adapter {name}")
    return ResolvedTextualInversion(
        name=name,
        source=source,
        token=token,
        target=inversion.target,
        tensors=None if placed is None else dict.fromkeys(placed, 1),
        tokens={token: {part: each.count for part, each in (placed or {}).items()}} if token else {},
        origin=origin,
    )


def _embedding(source: AnySource, token: str | None, label: str) -> Embedding | None:
    """What the file is; None while it is not here. A pickle's program tells it too: nothing is unpickled."""
    if not isinstance(source, Source):
        return None
    contents = read_weights(source.path(source.files[0].name), label)
    name = contents.values.get("name")
    found = identify_embedding(
        contents.shapes, dtypes=contents.dtypes, name=name if isinstance(name, str) else None, token=token
    )
    with suggest_other_kind(contents, "textual_inversion"):
        return require_embedding(found, label)
