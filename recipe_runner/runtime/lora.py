"""LoRA adapters: from a file's tensors to the factors of each module, so that every tensor of the file is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recipe_runner.handle import LoraModel
from recipe_runner.runtime.family import DENOISER_PARTS, TEXT_PARTS, present_parts
from recipe_runner.runtime.problems import misfit
from recipe_runner.runtime.tensors import read_tensors
from recipe_runner.runtime.tuners import Factor
from recipe_runner.weights.formats import identify_format
from recipe_runner.weights.header import read_header
from recipe_runner.weights.lora import LoraLayout, LoraModule, read_layout, require_whole
from recipe_runner.weights.modules import Shape

TUNED_PARTS = (*DENOISER_PARTS, *TEXT_PARTS)
_FACTORED = {"down", "up", "mid", "alpha"}


@dataclass(frozen=True)
class Translated:
    """An adapter, ready to be put into a pipeline: the factors of each component, and what the file's layout says."""

    parts: Mapping[str, tuple[Factor, ...]]
    layout: LoraLayout


def translate(adapter: LoraModel, modules: Mapping[str, Mapping[str, Shape]], *, allow_pickle: bool) -> Translated:
    """Read an adapter's file and find the place of every tensor.

    Args:
        adapter: the adapter.
        modules: of each component the names and weight shapes of its modules, as they are without adapters.
        allow_pickle: whether a pickled file may be read.

    Raises:
        WeightsError: E4xx, E607 when the file cannot be read; E601, E602, E605 when it does not land whole; E608 for
            a kind of difference that is not applied; E609 for an alpha that the file states itself.
    """
    path = adapter.source.path(adapter.weight_name)
    tensors = read_tensors(path, allow_pickle=allow_pickle)
    label = f"adapter {adapter.name}"
    layout = read_layout(
        {key: tuple(tensor.shape) for key, tensor in tensors.items()},
        modules,
        metadata=_metadata(path),
        target=adapter.target,
    )
    require_whole(layout, label)
    if layout.embeddings:
        names = ", ".join(layout.embeddings)
        raise misfit("E608", f"{label}: the file also holds learned tokens ({names}), which are not applied yet")
    parts: dict[str, list[Factor]] = {}
    for module in layout.modules:
        factor = _factor(label, module, tensors, adapter.alpha)
        parts.setdefault(module.component, []).append(factor)
    return Translated({part: tuple(factors) for part, factors in parts.items()}, layout)


def module_shapes(pipeline: Any) -> dict[str, dict[str, Shape]]:
    """The weight shape of every module with a weight, of each component that LoRAs are made for."""
    return {
        part: {
            name: tuple(module.weight.shape)
            for name, module in getattr(pipeline, part).named_modules()
            if isinstance(getattr(module, "weight", None), torch.Tensor)
        }
        for part in present_parts(pipeline, TUNED_PARTS)
    }


def _factor(label: str, module: LoraModule, tensors: Mapping[str, torch.Tensor], given: float | None) -> Factor:
    roles = {role: tensors[key] for role, key in module.tensors.items()}
    place = f"{module.component}.{module.module}"
    if module.kind != "lora" or not roles.keys() <= _FACTORED:
        kind = module.kind if module.kind != "lora" else ", ".join(sorted(roles.keys() - _FACTORED))
        raise misfit("E608", f"{label}: {place} has a {kind} difference, which is not applied yet")
    down, up = roles["down"], roles["up"]
    if "mid" in roles:
        # Tucker: the core goes into the lower factor, and a LoRA of the same rank is left.
        down = torch.einsum("pq...,qi->pi...", roles["mid"], down.flatten(1))
    if module.rows is not None:
        # The file has one tensor for several modules (a fused projection); this one gets its own outputs.
        up = torch.cat([up[first:last] for first, last in module.rows])
    down = down.reshape(module.rank, *module.shape[1:])
    up = up.reshape(module.shape[0], module.rank, *(1 for _ in module.shape[2:]))
    return Factor(module.module, down, up, _alpha(label, module, roles, given))


def _alpha(label: str, module: LoraModule, roles: Mapping[str, torch.Tensor], given: float | None) -> float:
    stated = module.alpha
    if stated is None and "alpha" in roles:
        # Trainers write 0 for "as large as the rank".
        stated = float(roles["alpha"]) or float(module.rank)
    if stated is not None and given is not None:
        raise misfit(
            "E609",
            f"{label}: the file states its own alpha ({stated:g} for {module.component}.{module.module})",
            "remove `alpha`; it is for files that state none",
        )
    return next((float(alpha) for alpha in (stated, given) if alpha is not None), float(module.rank))


def _metadata(path: Path) -> Mapping[str, str]:
    return read_header(path).metadata if identify_format(path) == "safetensors" else {}
