"""Warnings about masks: another shape than the images, or one colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from recipe_runner.images.read import grey_range, picture_size
from recipe_runner.plan.resolved import ResolvedIpAdapter
from recipe_runner.plan.resolved_recipe import ResolvedRecipe
from recipe_runner.problems.problem import Problem
from recipe_runner.sources.source import Source

WHITE = 128
"""The darkest grey that counts as white (diffusers' IPAdapterMaskProcessor)."""
_NEAR = 0.01
"""Aspect ratios that differ by less are one: a mask is scaled to whole pixels."""


def mask_warnings(recipe: ResolvedRecipe) -> Iterator[Problem]:
    """W626 for each mask of one colour; W758 for each mask of another shape than the images, if their size is known."""
    warnings: dict[Problem, None] = {}
    # Variants share masks, and a mask is read whole: each is read once.
    of_one_colour, of_another_shape = cache(_of_one_colour), cache(stretched)
    for variant in recipe.variants:
        height, width = variant.sampling.get("height"), variant.sampling.get("width")
        for adapter in variant.adapters:
            if not isinstance(adapter, ResolvedIpAdapter):
                continue
            masks = tuple(mask for mask in adapter.masks if isinstance(mask, Source))
            found = [of_one_colour(adapter.name, mask) for mask in masks]
            if isinstance(height, int) and isinstance(width, int):
                found += of_another_shape(adapter.name, masks, width, height)
            for problem in filter(None, found):
                warnings[problem.moved_to(adapter.origin)] = None
    yield from warnings


def _of_one_colour(name: str, mask: Source) -> Problem | None:
    """W626 for a mask that is white, or black, everywhere."""
    darkest, lightest, transparent = grey_range(mask.path(mask.files[0].name), mask.address)
    if darkest < WHITE <= lightest:
        return None
    effect = "black everywhere, so the adapter is off"
    if darkest >= WHITE:
        effect = "white everywhere, so it limits nothing"
    hint = "draw in white where the adapter should act, and in black elsewhere"
    if transparent:
        hint += "; transparency is not read"
    message = f"adapter {name}: the mask {mask.address} is {effect}"
    return Problem(code="W626", message=message, hint=hint, severity="warning")


def stretched(name: str, masks: Sequence[Source], width: int, height: int) -> tuple[Problem, ...]:
    """W758 for each of an adapter's masks that has another shape than images of `width` x `height` pixels."""
    found = []
    for mask in masks:
        columns, rows = picture_size(mask.path(mask.files[0].name), mask.address)
        if abs(columns * height / (rows * width) - 1) > _NEAR:
            message = f"adapter {name}: the mask {mask.address} has {columns}x{rows} pixels, and is stretched over "
            message += f"images of {width}x{height}"
            hint = "draw it in the images' shape"
            found.append(Problem(code="W758", message=message, hint=hint, severity="warning"))
    return tuple(found)
