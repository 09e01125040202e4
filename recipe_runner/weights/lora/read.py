"""Decide from names and shapes alone where every tensor of a LoRA or LyCORIS file lands in a base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recipe_runner.weights.embedding import Vectors
from recipe_runner.weights.lora.embeddings import embedding_of, misfit
from recipe_runner.weights.lora.fit import ShapeMismatch, dora_axis, is_old_glora, rank_of
from recipe_runner.weights.lora.grouping import Group, TensorLedger, for_another, group_tensors, whole_shape
from recipe_runner.weights.lora.layout import DeltaKind, LoraLayout, LoraModule
from recipe_runner.weights.lora.peft_config import PeftConfig, read_peft_configs
from recipe_runner.weights.lora.roles import ROLES, kind_of
from recipe_runner.weights.modules import ModuleTable, Shape

_TURNED = {"a1": "a2", "a2": "a1", "b1": "b2", "b2": "b1"}


@dataclass(frozen=True, slots=True)
class _Landing:
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
    """Where each tensor of a file lands.

    Args:
        shapes: the file's keys and shapes, in its order.
        modules: the base's components, their modules and weight shapes (`weights.modules`).
        metadata: the file's metadata; only what the layout cannot do without is read from it.
        target: load into this component only; other components' tensors are dropped, as `load_lora_adapter` does.

    Raises:
        WeightsError: E605 metadata that contradicts the tensors. All else is in the layout's `unmatched`.
    """
    metadata = metadata or {}
    ledger = TensorLedger()
    embeddings, rest = _embeddings(shapes, modules, metadata, ledger)
    if target is not None:
        embeddings = _only(target, embeddings, ledger)
    groups = group_tensors(rest, modules, target, ledger)
    landing = _Landing(shapes, modules, read_peft_configs(metadata), ledger)
    landed = tuple(_land(groups, landing))
    order = {key: number for number, key in enumerate(shapes)}
    unmatched = tuple(sorted(ledger.unmatched.items(), key=lambda item: order[item[0]]))
    return LoraLayout(
        layout=_layout_name(groups),
        modules=landed,
        unmatched=unmatched,
        dropped=tuple(sorted(ledger.dropped.items(), key=lambda item: order[item[0]])),
        embeddings=embeddings,
        advice=_advice(shapes, modules) if unmatched else "",
        tensor_count=len(shapes),
    )


def _advice(shapes: Mapping[str, Shape], modules: ModuleTable) -> str:
    # Imported where something does not land: a file that does needs no family.
    from recipe_runner.weights.lora.family import advice  # noqa: PLC0415

    return advice(shapes, modules)


def _embeddings(
    shapes: Mapping[str, Shape], modules: ModuleTable, metadata: Mapping[str, str], ledger: TensorLedger
) -> tuple[dict[str, dict[str, Vectors]], dict[str, Shape]]:
    """Learned tokens (token to component to vectors), and the keys that are none."""
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


def _land(groups: list[Group], landing: _Landing) -> Iterator[LoraModule]:
    """The modules of every group that fits; the others' keys go to the ledger."""
    taken: dict[tuple[str, str], str] = {}
    for group in groups:
        keys = list(group.tensors.values())
        places = [(group.component, module) for module, _ in group.target.pieces]
        double = [taken[place] for place in places if place in taken]
        reason = f"{double[0]} lands on the same module already" if double else ""
        landed: list[LoraModule] = []
        if not reason:
            try:
                landed = list(_modules(group, landing))
            except ShapeMismatch as error:
                reason = f"on {group.component} {group.target.pieces[0][0]}: {error}"
        if reason:
            landing.ledger.refuse(keys, reason)
            continue
        taken.update(dict.fromkeys(places, keys[0]))
        yield from landed


def _modules(group: Group, landing: _Landing) -> Iterator[LoraModule]:
    """What each module of the group's target gets; raises ShapeMismatch when the tensors do not make or fit it."""
    modules = landing.table[group.component]
    kind = kind_of(frozenset(group.tensors))
    if kind not in ROLES:
        raise ShapeMismatch(kind)
    tensors = dict(group.tensors)
    own = {role: landing.shapes[key] for role, key in tensors.items()}
    weight = whole_shape(group.target, modules)
    if is_old_glora(own, weight):
        tensors = {_TURNED.get(role, role): key for role, key in tensors.items()}
        own = {role: landing.shapes[key] for role, key in tensors.items()}
    rank = rank_of(kind, own, weight)
    axis = dora_axis(own, weight)
    if kind in ("glora", "ia3", "oft") and len(group.target.pieces) > 1:
        reason = "it works on the weight itself, and what is one weight in the file are several modules here"
        raise ShapeMismatch(reason)
    if axis == 1 and len(group.target.pieces) > 1:
        reason = "its dora_scale is per input, and normalises weights that are several modules here as one"
        raise ShapeMismatch(reason)
    for module, rows in group.target.pieces:
        alpha, divisor = _stated_alpha(group, module, kind, rank, landing)
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


def _stated_alpha(group: Group, module: str, kind: DeltaKind, rank: int, landing: _Landing) -> tuple[float | None, int]:
    """The alpha that the metadata states, None where it states none, and the rank that alpha is divided by."""
    config = landing.configs.get(group.component) or landing.configs.get(None)
    if config is None or kind not in ("lora", "loha", "lokr"):
        return None, rank
    return config.alpha_for(module, rank, has_tensor="alpha" in group.tensors)


def _layout_name(groups: list[Group]) -> str:
    layouts = " + ".join(dict.fromkeys(group.layout for group in groups)) or "unknown"
    origins = ", ".join(dict.fromkeys(group.target.origin for group in groups if group.target.origin))
    return f"{layouts} ({origins} names)" if origins else layouts
