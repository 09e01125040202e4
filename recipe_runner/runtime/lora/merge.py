"""Merge LoRAs into one, by the methods of peft's `add_weighted_adapter`, computed by peft's own functions.

Everything is computed on the CPU in float32 for every base, so that a merge is the same everywhere. The dare methods
prune at random. For each module the generator is seeded with the recipe's seed and the module's name, because peft's
call also draws from torch's global generator for its own layers.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from peft.utils import merge_utils

from recipe_runner.plan.resolved import ResolvedMerge
from recipe_runner.runtime.lora.deltas import Change, LowRankDelta
from recipe_runner.runtime.lora.file import Translated
from recipe_runner.weights.lora import SAME_RANK, expand_scales, merged_layout
from recipe_runner.weights.modules import ModuleTable

_Parts = Sequence[tuple[LowRankDelta, float]]
"""The deltas of one module, each with its weight."""
_Product = tuple[torch.Tensor, torch.Tensor]
"""Down [rank, columns] and up [rows, rank] of one delta."""
_Svd = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
_Task = Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor]


def merge(model: ResolvedMerge, members: Sequence[Translated], modules: ModuleTable) -> Translated:
    """The merge of the translated `members` of `model` on a base with these `modules`.

    Raises:
        WeightsError: E630 a member is not a LoRA of plain factors, E634 ranks that the method cannot merge; E61x a
            member's scale.
    """
    layouts = {}
    for member, translated in zip(model.members, members, strict=True):
        layouts[member.name] = translated.layout
    layout = merged_layout(layouts, model.combination_type, model.svd_rank, label=f"adapter {model.name}")
    deltas = _weighted_deltas(model, members, modules)
    # As in peft, a merge of one is linear for every method.
    method = model.combination_type if len(members) > 1 else "linear"
    task = _task(model, method)
    parts: dict[str, list[Change]] = {}
    for module in layout.modules:
        weighted = deltas[module.component, module.module]
        with _seeded(module_seed(model.seed, f"{module.component}.{module.module}")), warnings.catch_warnings():
            # peft warns that a density of 1 prunes nothing.
            warnings.simplefilter("ignore")
            parts.setdefault(module.component, []).append(_merge(module.module, weighted, method, task, module.rank))
    return Translated(parts, layout, {})


def _weighted_deltas(
    model: ResolvedMerge, members: Sequence[Translated], modules: ModuleTable
) -> dict[tuple[str, str], list[tuple[LowRankDelta, float]]]:
    """By component and module, the deltas of all members with their weights times their scales."""
    found: dict[tuple[str, str], list[tuple[LowRankDelta, float]]] = {}
    for member, translated, weight in zip(model.members, members, model.weights, strict=True):
        scales = expand_scales(member.scale, translated.layout, modules, label=f"adapter {member.name}")
        for component, changes in translated.parts.items():
            for delta in changes:
                if not isinstance(delta, LowRankDelta):
                    message = f"BUG: a merge of a whole difference of {delta.module}"
                    raise AssertionError(message)  # noqa: TRY004 - the layout refuses these
                place = component, delta.module
                # As in peft, the scale of a member is part of the merge.
                found.setdefault(place, []).append((delta, weight * scales[place]))
    return found


def _merge(module: str, parts: _Parts, method: str, task: _Task, rank: int) -> LowRankDelta:
    downs, ups, scales = [], [], []
    for delta, weight in parts:
        downs.append(delta.down.float())
        ups.append(delta.up.float())
        scales.append(weight * delta.alpha / delta.rank)
    if method == "cat":
        down, up = torch.cat(_scaled(downs, scales)), torch.cat(ups, dim=1)
    elif method in SAME_RANK:
        # Both factors are weighted with the root of the scale, and the lower one with its sign too.
        roots = [math.sqrt(abs(scale)) for scale in scales]
        signed = list(map(math.copysign, roots, scales))
        down, up = task(downs, torch.tensor(signed)), task(ups, torch.tensor(roots))
    else:
        flat = [(down.flatten(1), up.flatten(1)) for down, up in zip(downs, ups, strict=True)]
        if method == "svd":
            left, values, right = _svd_of_sum(flat, scales)
        else:
            left, values, right = _svd_of_task(flat, parts, task)
        # The nearest pair of factors of that rank; missing singular values are zeros.
        down = right[:rank].reshape(-1, *downs[0].shape[1:])
        up = (left * values)[:, :rank].reshape(ups[0].shape[0], -1, *ups[0].shape[2:])
    return LowRankDelta(module, down.contiguous(), up.contiguous(), float(down.shape[0]))


def _scaled(tensors: Sequence[torch.Tensor], scales: Sequence[float]) -> list[torch.Tensor]:
    return [tensor * scale for tensor, scale in zip(tensors, scales, strict=True)]


def _svd_of_task(flat: Sequence[_Product], parts: _Parts, task: _Task) -> _Svd:
    """The singular values and vectors of what `task` makes of whole deltas."""
    deltas, weights = [], []
    for (down, up), (delta, weight) in zip(flat, parts, strict=True):
        deltas.append((up @ down) * delta.alpha / delta.rank)
        weights.append(weight)
    left, values, right = torch.linalg.svd(task(deltas, torch.tensor(weights)), full_matrices=False)
    return left, values, right


def _svd_of_sum(flat: Sequence[_Product], scales: Sequence[float]) -> _Svd:
    """The singular values and vectors of a weighted sum of products, without the large matrix of the sum."""
    downs, ups = zip(*flat, strict=True)
    up, upper = torch.linalg.qr(torch.cat(_scaled(ups, scales), dim=1))
    down, lower = torch.linalg.qr(torch.cat(downs).T)
    left, values, right = torch.linalg.svd(upper @ lower.T, full_matrices=False)
    return up @ left, values, right @ down.T


def _task(model: ResolvedMerge, method: str) -> _Task:
    """Peft's function for a method, which merges the members' tensors with their weights into one tensor."""
    name = method.removesuffix("_svd")
    if name in ("linear", "cat", "svd"):
        return merge_utils.task_arithmetic  # type: ignore[no-any-return]
    task = partial(getattr(merge_utils, name), density=model.density)
    if "ties" in name:
        return partial(task, majority_sign_method=model.majority_sign_method)
    return task


def module_seed(seed: int, place: str) -> int:
    """The seed for one module (`unet.conv_in`), which does not depend on the other modules of the merge."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{place}".encode()).digest()[:8], "big") >> 1


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator for a block, and restore its state."""
    before = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(before)
