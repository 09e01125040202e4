"""Write the choices that planning made for the adapters of a recipe as keys of the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.plan.resolved import (
    ResolvedAdapter,
    ResolvedImagePrompt,
    ResolvedIpAdapter,
    ResolvedTextualInversion,
)
from recipe_runner.plan.resolved_base import AnySource, ResolvedComponent
from recipe_runner.plan.resolved_recipe import ResolvedVariant
from recipe_runner.sources.source import Source

_ENCODER = "image_encoder"


def write_decisions(tree: Any, variants: Sequence[ResolvedVariant]) -> None:
    """Write into the adapters of `tree`, the recipe of these variants, the choices that it leaves open.

    No existing key changes. A choice that differs between variants depends on an axis, and is not written.
    """
    decided: dict[tuple[int, str], list[Json]] = {}
    holders: dict[int, Any] = {}
    for variant in variants:
        for adapter in each_adapter(variant):
            holder = _holder(tree, variant, adapter.name)
            if not isinstance(holder, dict):
                continue
            holders[id(holder)] = holder
            for key, value in _decisions(adapter, variant):
                if key in holder or f"adapters.{adapter.name}.{key}" in variant.values:
                    continue
                values = decided.setdefault((id(holder), key), [])
                if value not in values:
                    values.append(value)
    for (holder_id, key), values in decided.items():
        if len(values) == 1:
            holders[holder_id][key] = values[0]


def each_adapter(variant: ResolvedVariant) -> Iterator[ResolvedAdapter]:
    """The adapters of a variant, and the members of those that merge others."""
    for adapter in variant.adapters:
        yield from adapter.with_members()


def encoded_prompt(adapter: ResolvedAdapter) -> ResolvedImagePrompt | None:
    """The first image prompt of an adapter that needs an image encoder; None if it has none."""
    if not isinstance(adapter, ResolvedIpAdapter):
        return None
    return adapter.encoded


def _holder(tree: Any, variant: ResolvedVariant, name: str) -> Any:
    """The entry of an adapter in a variant: in the section `adapters`, or the value of an axis that sets all of it."""
    axis = f"adapters.{name}"
    if axis in variant.values and "matrix" in tree:
        given = variant.values[axis]
        return next((value for value in tree["matrix"][axis] if _within(given, value)), None)
    if "adapters" in variant.values and "matrix" in tree:
        return None
    return tree["adapters"].get(name)


def _within(given: Json, value: Json) -> bool:
    """Whether an axis's value is `given`, or `given` with choices that were already written."""
    if isinstance(given, Mapping) and isinstance(value, Mapping):
        return all(key in value and value[key] == part for key, part in given.items())
    return given == value


def _decisions(adapter: ResolvedAdapter, variant: ResolvedVariant) -> Iterator[tuple[str, Json]]:
    name = _weight_name(adapter.sources.get("weights"))
    if name:
        yield "weight_name", name
    if isinstance(adapter, ResolvedTextualInversion) and adapter.token:
        yield "token", adapter.token
    if isinstance(adapter, ResolvedIpAdapter):
        yield from _image_decisions(adapter, variant)


def _image_decisions(adapter: ResolvedIpAdapter, variant: ResolvedVariant) -> Iterator[tuple[str, Json]]:
    shown = adapter.encoded
    if shown is None or shown.encoder is None:
        return
    if shown.faces is not None or shown.embeds:
        # Only FaceID Plus reads faces and also images for an image encoder.
        yield "shortcut", adapter.shortcut
    if variant.base.components.get(_ENCODER) is None:
        yield _ENCODER, _component(shown.encoder)


def _weight_name(source: AnySource | None) -> str | None:
    """The file that was chosen in a folder or repository; None if the address itself names the file."""
    if not isinstance(source, Source):
        return None
    written, name = source.written, source.files[0].name
    if "://" in written.model or PurePosixPath(written.model).name == name:
        return None
    if written.subfolder:
        return name.removeprefix(f"{written.subfolder}/")
    return name


def _component(encoder: ResolvedComponent) -> dict[str, Json]:
    written = encoder.source.written
    keys = {
        "model": written.model,
        "revision": written.revision,
        "subfolder": encoder.subfolder,
        "weight_name": encoder.weight_name,
        "variant": encoder.variant,
    }
    return {key: value for key, value in keys.items() if value is not None}
