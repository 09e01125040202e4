"""Merge LoRAs into one, by the methods of peft's `add_weighted_adapter`, computed by peft's own functions.

Everything is done on the CPU in float32 whatever the base is, so that a merge is the same everywhere. The dare methods
draw what they prune from a generator seeded for each module by the recipe's seed and the module's name, not from
torch's global one, which peft's call moves on by what it draws for layers of its own.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
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
"""The factors of one module, each with its weight."""
_Task = Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor]


def merge(model: ResolvedMerge, members: Sequence[Translated], modules: ModuleTable) -> Translated:
    """The merge of the translated `members` of `model` on a base with these `modules`.

    Raises:
        WeightsError: E630 a member is no LoRA of plain factors, E634 ranks that the method cannot merge; E61x a
            member's scale.
    """
    names = [member.name for member in model.members]
    layout = merged_layout(
        {name: member.layout for name, member in zip(names, members, strict=True)},
        model.combination_type,
        model.svd_rank,
        label=f"adapter {model.name}",
    )
    found: dict[tuple[str, str], list[tuple[LowRankDelta, float]]] = {}
    scaled = [member.scale for member in model.members]
    for name, member, weight, scale in zip(names, members, model.weights, scaled, strict=True):
        scales = expand_scales(scale, member.layout, modules, label=f"adapter {name}")
        for component, changes in member.parts.items():
            for factor in changes:
                if not isinstance(factor, LowRankDelta):
                    message = f"BUG: a merge of a whole difference of {factor.module}"
                    raise AssertionError(message)  # noqa: TRY004 - the layout lets none through
                place = component, factor.module
                # As in peft, where a scale that was set is part of what is merged.
                found.setdefault(place, []).append((factor, weight * scales[place]))
    # As in peft, a merge of one is linear whatever the method.
    method = model.combination_type if len(members) > 1 else "linear"
    task = _task(model, method)
    parts: dict[str, list[Change]] = {}
    for module in layout.modules:
        factors = found[module.component, module.module]
        with _seeded(module_seed(model.seed, f"{module.component}.{module.module}")), warnings.catch_warnings():
            # A density of 1 prunes nothing, as peft warns.
            warnings.simplefilter("ignore")
            parts.setdefault(module.component, []).append(_merge(module.module, factors, method, task, module.rank))
    return Translated({component: tuple(changes) for component, changes in parts.items()}, layout, {})


def _merge(module: str, parts: _Parts, method: str, task: _Task, rank: int) -> LowRankDelta:
    downs, ups = [factor.down.float() for factor, _ in parts], [factor.up.float() for factor, _ in parts]
    scales = [weight * factor.alpha / factor.rank for factor, weight in parts]
    if method == "cat":
        down = torch.cat([down * scale for down, scale in zip(downs, scales, strict=True)])
        up = torch.cat(ups, dim=1)
    elif method in SAME_RANK:
        # Each factor gets the root of the weight, and the lower one its sign.
        roots = [math.sqrt(abs(scale)) for scale in scales]
        signed = [math.copysign(root, scale) for root, scale in zip(roots, scales, strict=True)]
        down, up = task(downs, torch.tensor(signed)), task(ups, torch.tensor(roots))
    else:
        flat = [(down.flatten(1), up.flatten(1)) for down, up in zip(downs, ups, strict=True)]
        if method == "svd":
            left, values, right = _svd_of_sum(flat, scales)
        else:
            deltas = [
                (up @ down) * factor.alpha / factor.rank for (down, up), (factor, _) in zip(flat, parts, strict=True)
            ]
            whole = task(deltas, torch.tensor([weight for _, weight in parts]))
            left, values, right = torch.linalg.svd(whole, full_matrices=False)
        # The nearest pair of factors of that rank; values that are not there are zeros.
        down = right[:rank].reshape(-1, *downs[0].shape[1:])
        up = (left * values)[:, :rank].reshape(ups[0].shape[0], -1, *ups[0].shape[2:])
    return LowRankDelta(module, down.contiguous(), up.contiguous(), float(down.shape[0]))


def _svd_of_sum(
    flat: Sequence[tuple[torch.Tensor, torch.Tensor]], scales: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The singular values and vectors of a weighted sum of products, found without the sum: only ranks are large."""
    up, upper = torch.linalg.qr(torch.cat([up * scale for (_, up), scale in zip(flat, scales, strict=True)], dim=1))
    down, lower = torch.linalg.qr(torch.cat([down for down, _ in flat]).T)
    left, values, right = torch.linalg.svd(upper @ lower.T, full_matrices=False)
    return up @ left, values, right @ down.T


def _task(model: ResolvedMerge, method: str) -> _Task:
    """Peft's function for a method: from the members' tensors and their weights to one tensor."""
    name = method.removesuffix("_svd")
    if name in ("linear", "cat", "svd"):
        return merge_utils.task_arithmetic  # type: ignore[no-any-return]
    options: Mapping[str, str] = {"majority_sign_method": model.majority_sign_method} if "ties" in name else {}
    return partial(getattr(merge_utils, name), density=model.density, **options)


def module_seed(seed: int, place: str) -> int:
    """The seed of what is drawn for one module (`unet.conv_in`): merging others beside it changes nothing here."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{place}".encode()).digest()[:8], "big") >> 1


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator of the CPU for a block, and put it back."""
    before = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(before)
