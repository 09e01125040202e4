"""Several LoRAs merged into one: its members are adapters of the recipe, resolved before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipe_runner.canonical import digest
from recipe_runner.plan.adapters.kind import Core, Surroundings
from recipe_runner.plan.adapters.lora import check_scale, scale_of
from recipe_runner.plan.resolved import ResolvedAdapter
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import at
from recipe_runner.recipe.types.recipe import Merge
from recipe_runner.weights.lora import LoraLayout, merged_layout

_OPTIONS = ("density", "majority_sign_method", "svd_rank", "seed")


def resolve(name: str, entry: Mapping[str, Any], surroundings: Surroundings, origin: Place) -> ResolvedAdapter:
    """Prove from the members' layouts that they can be merged so, and that every key of the scale means something.

    Raises:
        RecipeRunnerError: E630 a member is no pair of factors, E634 ranks that the method cannot merge, E61x the scale.
    """
    merge = Merge.model_validate(entry)
    members = {member: surroundings.others[member] for member in merge.adapters}
    place = ("merge", name, digest({key: value for key, value in entry.items() if key != "scale"}))
    with at(surroundings.origin("adapters")):
        core: Core = surroundings.once(place, lambda: _decide(name, merge, members), *members.values())
    scale = scale_of(merge.scale)
    check_scale(name, scale, core.layout, surroundings)
    return ResolvedAdapter(
        name=name,
        kind="merge",
        operation="merge_loras",
        constants=core.constants,
        sources=core.sources,
        members=tuple(members.values()),
        scale=scale,
        tensors=core.tensors,
        layout=core.layout,
        origin=origin,
    )


def _decide(name: str, merge: Merge, members: Mapping[str, ResolvedAdapter]) -> Core:
    layout = _layout(name, merge, members)
    # What a method does not read is not written down: it changes nothing.
    options = {option: getattr(merge, option) for option in _OPTIONS if _reads(merge, option)}
    return Core(
        constants={
            "weights": list(merge.weights),
            "scales": [member.scale for member in members.values()],
            "combination_type": merge.combination_type,
            **options,
        },
        sources={},
        layout=layout,
        tensors=None if layout is None else layout.landed(),
    )


def _layout(name: str, merge: Merge, members: Mapping[str, ResolvedAdapter]) -> LoraLayout | None:
    layouts = {member: adapter.layout for member, adapter in members.items() if adapter.layout is not None}
    if len(layouts) < len(members):
        return None
    return merged_layout(layouts, merge.combination_type, merge.svd_rank, label=f"adapter {name}")


def _reads(merge: Merge, option: str) -> bool:
    method = merge.combination_type
    return {
        "density": method.startswith(("ties", "dare", "magnitude_prune")),
        "majority_sign_method": "ties" in method,
        "svd_rank": method.endswith("svd"),
        "seed": method.startswith("dare"),
    }[option]
