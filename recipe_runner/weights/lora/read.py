"""Match every tensor of a LoRA or LyCORIS file with a module of a base, from names and shapes alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recipe_runner.weights.embedding import Vectors
from recipe_runner.weights.lora.embeddings import embedding_of, misfit
from recipe_runner.weights.lora.fit import ShapeMismatch, dora_axis, is_old_glora, rank_of
from recipe_runner.weights.lora.grouping import Group, TensorLedger, for_another, group_tensors, whole_shape
from recipe_runner.weights.lora.layout import DeltaKind, LoraLayout, LoraModule, Reasoned
from recipe_runner.weights.lora.peft_config import PeftConfig, read_peft_configs
from recipe_runner.weights.lora.roles import ROLES, kind_of
from recipe_runner.weights.modules import ModuleTable, Shape

_TURNED = {"a1": "a2", "a2": "a1", "b1": "b2", "b2": "b1"}


@dataclass(frozen=True, slots=True)
class _Checks:
    """What the tensors of each group are checked against."""

    shapes: Mapping[str, Shape]
    table: ModuleTable
    configs: Mapping[str | None, PeftConfig]
    ledger: TensorLedger


def read_layout(
    shapes: Mapping[str, Shape],
    modules: ModuleTable,
    *,
    metadata: Mapping[str, str] | None = None,
    target: str | None = None,
) -> LoraLayout:
    """Match each tensor of a file with a module of the base.

    Args:
        shapes: the file's keys and shapes, in its order.
        modules: the base's components, their modules and weight shapes (`weights.modules`).
        metadata: the file's metadata, from which only ranks, alphas and marks of learned tokens are read.
        target: load into this component only; other components' tensors are dropped, as `load_lora_adapter` does.

    Raises:
        WeightsError: E605 metadata that contradicts the tensors. Other faults are in the layout's `unmatched`.
    """
    metadata = metadata or {}
    ledger = TensorLedger()
    embeddings, rest = _embeddings(shapes, modules, metadata, ledger)
    if target is not None:
        embeddings = _only(target, embeddings, ledger)
    groups = group_tensors(rest, modules, target, ledger)
    checks = _Checks(shapes, modules, read_peft_configs(metadata), ledger)
    matched = tuple(_matched(groups, checks))
    unmatched = _in_order(ledger.unmatched, shapes)
    return LoraLayout(
        layout=_layout_name(groups),
        modules=matched,
        unmatched=unmatched,
        dropped=_in_order(ledger.dropped, shapes),
        embeddings=embeddings,
        advice=_advice(shapes, modules) if unmatched else "",
        tensor_count=len(shapes),
    )


def _in_order(reasons: Mapping[str, str], shapes: Mapping[str, Shape]) -> Reasoned:
    """The keys and reasons in the order of the file."""
    return tuple((key, reasons[key]) for key in shapes if key in reasons)


def _advice(shapes: Mapping[str, Shape], modules: ModuleTable) -> str:
    # A file that matches whole needs no family, nor the time to import what finds it.
    from recipe_runner.weights.lora.family import advice  # noqa: PLC0415

    return advice(shapes, modules)


def _embeddings(
    shapes: Mapping[str, Shape], modules: ModuleTable, metadata: Mapping[str, str], ledger: TensorLedger
) -> tuple[dict[str, dict[str, Vectors]], dict[str, Shape]]:
    """Learned tokens (token to component to vectors), and the file's other tensors."""
    found: dict[str, dict[str, Vectors]] = {}
    rest: dict[str, Shape] = {}
    for key, shape in shapes.items():
        embedding = embedding_of(key, metadata)
        if embedding is None:
            rest[key] = shape
            continue
        token, component = embedding
        reason = misfit(shape, component, modules)
        if not reason and component in found.get(token, {}):
            reason = f"{found[token][component].key} holds the same token"
        if reason:
            ledger.refuse([key], reason)
        else:
            found.setdefault(token, {})[component] = Vectors(key=key, shape=shape, component=component)
    return found, rest


def _only(
    target: str, embeddings: dict[str, dict[str, Vectors]], ledger: TensorLedger
) -> dict[str, dict[str, Vectors]]:
    kept: dict[str, dict[str, Vectors]] = {}
    for token, parts in embeddings.items():
        for component, vectors in parts.items():
            if component == target:
                kept.setdefault(token, {})[component] = vectors
            else:
                ledger.drop([vectors.key], for_another(component, target))
    return kept


def _matched(groups: list[Group], checks: _Checks) -> Iterator[LoraModule]:
    """The modules of every group that fits; the keys of other groups go to the ledger."""
    taken: dict[tuple[str, str], str] = {}
    for group in groups:
        keys = list(group.tensors.values())
        places = [(group.component, module) for module in group.target.modules]
        double = [taken[place] for place in places if place in taken]
        if double:
            checks.ledger.refuse(keys, f"{double[0]} is for the same module")
            continue
        try:
            modules = list(_modules(group, checks))
        except ShapeMismatch as error:
            checks.ledger.refuse(keys, f"on {group.component} {group.target.modules[0]}: {error}")
            continue
        taken.update(dict.fromkeys(places, keys[0]))
        yield from modules


def _modules(group: Group, checks: _Checks) -> Iterator[LoraModule]:
    """What each module of the group's target gets.

    Raises:
        ShapeMismatch: the tensors are incomplete, or do not fit.
    """
    modules = checks.table[group.component]
    kind = kind_of(frozenset(group.tensors))
    if kind not in ROLES:
        raise ShapeMismatch({}, kind)
    tensors = dict(group.tensors)
    own = {role: checks.shapes[key] for role, key in tensors.items()}
    weight = whole_shape(group.target, modules)
    if is_old_glora(own, weight):
        tensors = {_TURNED.get(role, role): key for role, key in tensors.items()}
        own = {role: checks.shapes[key] for role, key in tensors.items()}
    rank = rank_of(kind, own, weight)
    axis = dora_axis(own, weight)
    if len(group.target.pieces) > 1:
        _require_separable(kind, axis)
    for module, rows in group.target.pieces:
        alpha, divisor = _stated_alpha(group, module, kind, rank, checks)
        yield LoraModule(
            component=group.component,
            module=module,
            kind=kind,
            tensors=tensors,
            shape=modules[module],
            rank=divisor,
            alpha=alpha,
            rows=rows,
            dora_axis=axis,
        )


def _require_separable(kind: DeltaKind, axis: int | None) -> None:
    """Raise ShapeMismatch for tensors that change several modules as one weight."""
    if kind in ("glora", "ia3", "oft"):
        raise ShapeMismatch({}, f"a {kind} changes one weight, which the base has as several modules")
    if axis == 1:
        raise ShapeMismatch({}, "dora_scale is per input of one weight, which the base has as several modules")


def _stated_alpha(group: Group, module: str, kind: DeltaKind, rank: int, checks: _Checks) -> tuple[float | None, int]:
    """The alpha that the metadata states, None where it states none, and the rank that alpha is divided by."""
    config = checks.configs.get(group.component) or checks.configs.get(None)
    if config is None or kind not in ("lora", "loha", "lokr"):
        return None, rank
    return config.alpha_for(module, rank, has_tensor="alpha" in group.tensors)


def _layout_name(groups: list[Group]) -> str:
    layouts = " + ".join(dict.fromkeys(group.layout for group in groups)) or "unknown"
    origins = ", ".join(dict.fromkeys(group.target.origin for group in groups if group.target.origin))
    return f"{layouts} ({origins} names)" if origins else layouts
