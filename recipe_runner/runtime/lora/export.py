"""Write an adapter as diffusers' `save_lora_weights` and `save_lora_adapter` do: PEFT's keys, alphas baked in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import save

from recipe_runner.plan.resolved import ResolvedLora, ResolvedMerge
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.load.base import load_base
from recipe_runner.runtime.lora.deltas import Change, LowRankDelta
from recipe_runner.runtime.lora.file import Translated, module_shapes, translate
from recipe_runner.runtime.lora.low_rank import NoLowRank, low_rank
from recipe_runner.runtime.lora.merge import merge
from recipe_runner.weights.modules import ModuleTable, Shape

_TABLE = re.compile(r"(?:^|\.)(?:\w*embeddings?|shared|embed_tokens)$")


@dataclass(frozen=True)
class ExportedAdapter:
    """A safetensors file's bytes, and how many tensors it holds for each component."""

    content: bytes
    tensors: Mapping[str, int]


def export_adapter(
    adapter: ResolvedLora | ResolvedMerge,
    base: ResolvedBase,
    modules: ModuleTable | None,
    *,
    allow_pickle: bool,
    component: str | None = None,
) -> ExportedAdapter:
    """The adapter at scale 1 as a file for `load_lora_weights`, or of one component for `load_lora_adapter`.

    Args:
        adapter: a LoRA, or a merge of several.
        base: the base that it is for; loaded only if `modules` is None.
        modules: the base's modules, if the headers of its files list them.
        allow_pickle: whether a pickled file may be read.
        component: write this component only, its keys without prefix, as `save_lora_adapter` does.

    Raises:
        WeightsError: E6xx it cannot be applied whole, E633 it does not change the component, E635 a part of it has no
            exact low-rank form.
    """
    if modules is None:
        modules = module_shapes(load_base(base, torch.device("cpu")).pipeline)
    found = _translated(adapter, modules, allow_pickle=allow_pickle)
    label = f"adapter {adapter.name}"
    parts = list(found.parts) if component is None else [component]
    _require_exportable(found, parts, label)
    tensors: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    for part in parts:
        changes = found.parts[part]
        prefix = f"{part}." if component is None else ""
        counts[part] = 2 * len(changes)
        for change in changes:
            try:
                delta = _exportable(change, modules[part][change.module])
            except NoLowRank as cause:
                raise WeightsError.of(
                    "E635",
                    f"{label} is not exported: {part} {change.module}: {cause}",
                    "diffusers' layout holds pairs of factors; keep the file as it is",
                ) from cause
            place = f"{prefix}{change.module}"
            tensors[f"{place}.lora_A.weight"], tensors[f"{place}.lora_B.weight"] = delta.down, _baked(delta)
    return ExportedAdapter(content=save(_in_one_type(tensors), metadata={"format": "pt"}), tensors=counts)


def _require_exportable(found: Translated, parts: Sequence[str], label: str) -> None:
    """Raise for a component of `parts` that the adapter does not change, and for learned tokens in one of them."""
    for part in parts:
        if part not in found.parts:
            raise WeightsError.of("E633", f"{label} has nothing for {part}", f"it has {', '.join(found.parts)}")
    tokens = [token for token, encoders in found.tokens.items() if not encoders.keys().isdisjoint(parts)]
    if tokens:
        raise WeightsError.of("E635", f"{label} has learned tokens ({', '.join(tokens)}), which the layout cannot hold")


def _exportable(change: Change, shape: Shape) -> LowRankDelta:
    if _TABLE.search(change.module):
        reason = "it is for an embedding table, which diffusers' loaders leave out"
        raise NoLowRank(reason)
    return low_rank(change, shape)


def _translated(adapter: ResolvedLora | ResolvedMerge, modules: ModuleTable, *, allow_pickle: bool) -> Translated:
    if isinstance(adapter, ResolvedLora):
        return translate(adapter, modules, allow_pickle=allow_pickle)
    members = [translate(member, modules, allow_pickle=allow_pickle) for member in adapter.members]
    return merge(adapter, members, modules)


def _baked(delta: LowRankDelta) -> torch.Tensor:
    """The upper factor times alpha / rank: diffusers assumes that alpha is the rank if a file does not state it."""
    up = delta.up.double() * (delta.alpha / delta.rank)
    narrow = up.to(delta.up.dtype)
    return narrow if torch.equal(narrow.double(), up) else up.float()


def _in_one_type(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All tensors in their own data type when they share one, else in float32."""
    dtype, *others = {tensor.dtype for tensor in tensors.values()}
    if others or dtype == torch.float64:
        dtype = torch.float32
    return {key: tensor.to(dtype).contiguous() for key, tensor in tensors.items()}
