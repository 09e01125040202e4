"""The modules that a merge of several LoRAs changes, and whether peft's methods can merge them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from recipe_runner.weights.lora.layout import LoraLayout, LoraModule, ModulePlace
from recipe_runner.weights.lora.verdict import AdapterMismatch

SAME_RANK = frozenset({"linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"})
"""Methods that work on the factors themselves, which must then be of one size (peft `add_weighted_adapter`)."""
_FACTORS = frozenset({"down", "up", "mid", "rows_down", "rows_up", "alpha", "scalar"})


def merged_layout(
    members: Mapping[str, LoraLayout], combination_type: str, svd_rank: int | None, *, label: str
) -> LoraLayout:
    """The layout of the merge of `members` (by name): their modules together, each with the rank it gets.

    Keys are those of the members' files, each after the member's name, so that none is counted twice.

    Raises:
        AdapterMismatch: E630 a member is not a plain LoRA, E634 ranks that the method cannot merge.
    """
    found: dict[ModulePlace, dict[str, LoraModule]] = {}
    for name, layout in members.items():
        for module in layout.modules:
            _require_factors(module, name, label)
            found.setdefault((module.component, module.module), {})[name] = module
        if layout.embeddings:
            raise _no_factors(label, name, f"holds learned tokens ({', '.join(layout.embeddings)})")
    # As in peft, a merge of one is always linear.
    method = combination_type if len(members) > 1 else "linear"
    largest: dict[str, int] = {}
    for (component, _), parts in found.items():
        largest[component] = max(largest.get(component, 0), *(module.rank for module in parts.values()))
    modules: list[LoraModule] = []
    for (component, _), parts in found.items():
        rank = _rank(parts, method, svd_rank or largest[component], label)
        modules.append(_merged(parts, rank))
    count = sum(layout.tensor_count for layout in members.values())
    return LoraLayout(layout="merge", modules=tuple(modules), tensor_count=count)


def _require_factors(module: LoraModule, name: str, label: str) -> None:
    if module.kind != "lora" or not module.tensors.keys() <= _FACTORS:
        what = "DoRA or bias" if module.kind == "lora" else module.kind
        raise _no_factors(label, name, f"has a {what} difference for {module.component} {module.module}")


def _no_factors(label: str, name: str, what: str) -> AdapterMismatch:
    hint = "peft merges plain LoRAs only; use the other adapter beside the merge"
    return AdapterMismatch.of("E630", f"{label}: `{name}` {what}", hint)


def _rank(parts: Mapping[str, LoraModule], method: str, largest: int, label: str) -> int:
    ranks = {name: module.rank for name, module in parts.items()}
    if method == "cat":
        return sum(ranks.values())
    module = next(iter(parts.values()))
    if method not in SAME_RANK:
        return min(largest, module.shape[0], prod(module.shape[1:]))
    if len(set(ranks.values())) > 1:
        each = ", ".join(f"{rank} in `{name}`" for name, rank in ranks.items())
        message = f"{label}: {module.component} {module.module} has rank {each}, and `{method}` needs one rank"
        raise AdapterMismatch.of("E634", message, "use combination_type cat, svd or another svd method")
    return module.rank


def _merged(parts: Mapping[str, LoraModule], rank: int) -> LoraModule:
    module = next(iter(parts.values()))
    tensors: dict[str, str] = {}
    for name, part in parts.items():
        for role, key in part.tensors.items():
            tensors[f"{name}:{role}"] = f"{name}:{key}"
    return LoraModule(
        component=module.component,
        module=module.module,
        kind="lora",
        tensors=tensors,
        shape=module.shape,
        rank=rank,
    )
