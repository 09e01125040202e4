"""LoRA adapters: from a file's tensors to the factors of each module, proved to be all of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from recipe_runner.handle import LoraModel
from recipe_runner.runtime.family import DENOISER_PARTS, TEXT_PARTS, present_parts
from recipe_runner.runtime.lora_layout import LoraModule, read_layout
from recipe_runner.runtime.problems import misfit, some
from recipe_runner.runtime.tensors import read_tensors
from recipe_runner.runtime.tuners import Factor

TUNED_PARTS = (*DENOISER_PARTS, *TEXT_PARTS)


@dataclass(frozen=True)
class Translated:
    """An adapter, ready to be put into a pipeline: the factors of each component, and the file's count of tensors."""

    parts: Mapping[str, tuple[Factor, ...]]
    tensors: Mapping[str, int]
    """Tensors of the file by the component they went to."""


def translate(adapter: LoraModel, pipeline: Any, shapes: Mapping[str, Mapping[str, tuple[int, ...]]], *, allow_pickle: bool) -> Translated:
    """Read an adapter's file and find the place of every tensor in `pipeline`.

    Args:
        adapter: the adapter.
        pipeline: the pipeline, for messages.
        shapes: of each component the weight shapes of its modules, without adapters.
        allow_pickle: whether a pickled file may be read.

    Raises:
        WeightsError: E601 tensors that belong nowhere, E602 tensors of the wrong shape, E603 a module with only half
            of its tensors, E604 nothing for the target.
    """
    tensors = read_tensors(adapter.source.path(adapter.weight_name), allow_pickle=allow_pickle)
    layout = read_layout({name: tuple(tensor.shape) for name, tensor in tensors.items()}, shapes)
    label = f"adapter {adapter.name}"
    if layout.unmatched:
        names = [f"{key} ({reason})" for key, reason in layout.unmatched]
        raise misfit(
            "E601",
            f"{label}: {len(names)} of {len(tensors)} tensors belong to no module of {type(pipeline).__name__}: "
            f"{some(names)}",
            "the file was made for another architecture",
        )
    modules = [each for each in layout.modules if adapter.target in (None, each.component)]
    if not modules:
        found = sorted({each.component for each in layout.modules})
        raise misfit("E604", f"{label}: the file has nothing for {adapter.target or 'this pipeline'}; it has {found}")
    parts: dict[str, tuple[Factor, ...]] = {}
    counts: dict[str, int] = {}
    for each in modules:
        factor = _factor(label, each, tensors, shapes[each.component][each.module], adapter.alpha)
        parts[each.component] = (*parts.get(each.component, ()), factor)
        counts[each.component] = counts.get(each.component, 0) + len(each.tensors)
    return Translated(parts, counts)


def module_shapes(pipeline: Any) -> dict[str, dict[str, tuple[int, ...]]]:
    """The weight shape of every linear, convolution and embedding module of each component that LoRAs are made for."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Embedding)
    return {
        part: {
            name: tuple(module.weight.shape)
            for name, module in getattr(pipeline, part).named_modules()
            if isinstance(module, kinds)
        }
        for part in present_parts(pipeline, TUNED_PARTS)
    }


def _factor(
    label: str, module: LoraModule, tensors: Mapping[str, torch.Tensor], shape: tuple[int, ...], alpha: float | None
) -> Factor:
    roles = {role: tensors[key] for role, key in module.tensors.items()}
    if "down" not in roles or "up" not in roles:
        raise misfit("E603", f"{label}: {module.component}.{module.module} has only {', '.join(module.tensors)}")
    down, up = roles["down"], roles["up"]
    if len(shape) == 4 and down.ndim == 2:  # noqa: PLR2004 - a convolution's weight has four dimensions
        # Some trainers flatten 1x1 convolutions.
        down, up = down[:, :, None, None], up[:, :, None, None]
    if len(shape) == 2 and down.ndim == 4:  # noqa: PLR2004 - and a linear layer's two
        down, up = down.flatten(1), up.flatten(1)
    fits = down.shape[1:] == shape[1:] and up.shape[0] == shape[0] and up.shape[1] == down.shape[0]
    if not fits:
        raise misfit(
            "E602",
            f"{label}: {module.component}.{module.module} is {_size(shape)}, and the file's factors are "
            f"{_size(down.shape)} and {_size(up.shape)}",
            "the file was made for another architecture",
        )
    rank = int(down.shape[0])
    stated = float(roles["alpha"]) if "alpha" in roles else alpha
    return Factor(module.module, down, up, float(rank) if not stated else stated)


def _size(shape: tuple[int, ...] | torch.Size) -> str:
    return "x".join(map(str, shape))
