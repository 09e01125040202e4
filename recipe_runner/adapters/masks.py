"""Masks of another shape than the pictures: they are stretched, and may not lie where they were drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from recipe_runner.errors import Problem
from recipe_runner.resolved import ResolvedRecipe
from recipe_runner.sources.pictures import picture_size
from recipe_runner.sources.source import Source

_NEAR = 0.01
"""Aspect ratios that differ by less are one: a mask is scaled to whole pixels."""


def mask_warnings(recipe: ResolvedRecipe) -> Iterator[Problem]:
    """W758 for each mask of another shape than the pictures, where the recipe says what shape those have."""
    told: dict[Problem, None] = {}
    for variant in recipe.variants:
        height, width = variant.sampling.get("height"), variant.sampling.get("width")
        if not isinstance(height, int) or not isinstance(width, int):
            continue
        for adapter in variant.adapters:
            masks = [s for role, s in adapter.sources.items() if role.startswith("mask") and isinstance(s, Source)]
            place = {"path": adapter.origin.path, "line": adapter.origin.line, "column": adapter.origin.column,
                     "source_line": adapter.origin.source_line, "width": adapter.origin.width}  # fmt: skip
            for problem in stretched(adapter.name, masks, width, height):
                told[replace(problem, **place)] = None  # type: ignore[arg-type]
    yield from told


def stretched(name: str, masks: Sequence[Source], width: int, height: int) -> tuple[Problem, ...]:
    """W758 for each of an adapter's masks that has another shape than pictures of `width` times `height` pixels."""
    found = []
    for mask in masks:
        columns, rows = picture_size(mask.path(mask.files[0].name), mask.address)
        if abs(columns * height / (rows * width) - 1) > _NEAR:
            message = f"adapter {name}: the mask {mask.address} has {columns}x{rows} pixels, and is stretched over "
            message += f"pictures of {width}x{height}"
            hint = "draw it in the pictures' shape"
            found.append(Problem(code="W758", message=message, hint=hint, severity="warning"))
    return tuple(found)
