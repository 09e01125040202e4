"""Resolve a merge of several LoRAs; its members are adapters of the recipe, resolved before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recipe_runner.canonical import digest
from recipe_runner.plan.adapters.kind import ResolveContext
from recipe_runner.plan.adapters.lora import check_scale, scale_of
from recipe_runner.plan.resolved import ResolvedLora, ResolvedMerge
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import at
from recipe_runner.recipe.types.recipe import Merge
from recipe_runner.weights.lora import LoraLayout, merged_layout


def resolve(name: str, entry: Mapping[str, Any], context: ResolveContext, origin: Place) -> ResolvedMerge:
    """Check from the members' layouts that they can be merged, and check every key of the scale.

    Raises:
        RecipeRunnerError: E630 a member is not a pair of factors, E634 the method cannot merge these ranks, E61x the
            scale does not fit.
    """
    merge = Merge.model_validate(entry)
    members = [context.others[member] for member in merge.adapters]
    settings = digest({**entry, "scale": None})
    place = ("merge", name, settings, *(member.number for member in members))
    with at(context.origin("adapters")):
        whole: ResolvedMerge = context.once(place, lambda: _decide(name, merge, members, origin))
    scale = scale_of(merge.scale)
    check_scale(name, scale, whole.layout, context)
    return whole.at(scale)


def _decide(name: str, merge: Merge, members: Sequence[ResolvedLora], origin: Place) -> ResolvedMerge:
    """The merge at scale 1."""
    layout = _layout(name, merge, members)
    tensors: Mapping[str, int] | None = None
    if layout is not None:
        tensors = layout.tensor_counts()
    return ResolvedMerge(
        name=name,
        members=tuple(members),
        layout=layout,
        tensors=tensors,
        origin=origin,
        **{option: getattr(merge, option) for option in ResolvedMerge.OPTIONS},
    )


def _layout(name: str, merge: Merge, members: Sequence[ResolvedLora]) -> LoraLayout | None:
    layouts = {member.name: member.layout for member in members if member.layout is not None}
    if len(layouts) < len(members):
        return None
    return merged_layout(layouts, merge.combination_type, merge.svd_rank, label=f"adapter {name}")
