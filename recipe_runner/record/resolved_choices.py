"""What was decided for the adapters of a recipe, where the recipe left it open, as the keys that would have said it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedIpAdapter, ResolvedTextualInversion
from recipe_runner.plan.resolved_base import ResolvedComponent
from recipe_runner.plan.resolved_recipe import ResolvedVariant
from recipe_runner.sources.source import Source

_ENCODER = "image_encoder"


def write_decisions(tree: Any, variants: Sequence[ResolvedVariant]) -> None:
    """Write into the adapters of `tree`, a recipe of these variants, what was decided for them.

    No key that is there changes. What variants decide differently follows from an axis, and stays open.
    """
    decided: dict[tuple[int, str], list[Json]] = {}
    holders: dict[int, Any] = {}
    for variant in variants:
        for adapter in (each for outer in variant.adapters for each in outer.with_members()):
            holder = _holder(tree, variant, adapter.name)
            if not isinstance(holder, dict):
                continue
            holders[id(holder)] = holder
            for key, value in _decisions(adapter, variant):
                values = decided.setdefault((id(holder), key), [])
                if key not in holder and f"adapters.{adapter.name}.{key}" not in variant.values and value not in values:
                    values.append(value)
    for (holder_id, key), values in decided.items():
        if len(values) == 1:
            holders[holder_id][key] = values[0]


def _holder(tree: Any, variant: ResolvedVariant, name: str) -> Any:
    """The entry of an adapter in a variant: that of the section, or the value of an axis that gives it whole."""
    axis = f"adapters.{name}"
    if axis in variant.values and "matrix" in tree:
        given = variant.values[axis]
        return next((value for value in tree["matrix"][axis] if _within(given, value)), None)
    return None if "adapters" in variant.values and "matrix" in tree else tree["adapters"].get(name)


def _within(given: Json, value: Json) -> bool:
    """Whether an axis's value is `given`, perhaps with what was decided for it already."""
    if isinstance(given, Mapping) and isinstance(value, Mapping):
        return all(key in value and value[key] == part for key, part in given.items())
    return given == value


def _decisions(adapter: ResolvedAdapter, variant: ResolvedVariant) -> Iterator[tuple[str, Json]]:
    source = adapter.sources.get("weights")
    if isinstance(source, Source) and (name := _weight_name(source)):
        yield "weight_name", name
    if isinstance(adapter, ResolvedTextualInversion) and adapter.token:
        yield "token", adapter.token
    shown = adapter.encoded if isinstance(adapter, ResolvedIpAdapter) else None
    if not isinstance(adapter, ResolvedIpAdapter) or shown is None or shown.encoder is None:
        return
    if shown.faces is not None or shown.embeds:
        # Faces, and pictures for an image encoder as well: only FaceID Plus reads both.
        yield "shortcut", adapter.shortcut
    if variant.base.components.get(_ENCODER) is None:
        yield _ENCODER, _component(shown.encoder)


def _weight_name(source: Source) -> str | None:
    """The file that was chosen in a folder or repository; None where the address itself is that of a file."""
    written, name = source.written, source.files[0].name
    if "://" in written.model or PurePosixPath(written.model).name == name:
        return None
    return name.removeprefix(f"{written.subfolder}/") if written.subfolder else name


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
