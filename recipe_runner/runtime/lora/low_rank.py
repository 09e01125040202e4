"""Exact pairs of factors for a LoHa or a LoKr, if their product has a low rank.

The Hadamard product of two products is a product of the row-wise and column-wise Kronecker products of their factors,
of rank r²; the Kronecker product of a block and a product of factors is kron(w1, up) @ kron(1, down), of rank r times
a side of w1. Both hold exactly (Khatri and Rao 1968; Van Loan 2000).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from recipe_runner.runtime.lora.deltas import (
    Change,
    LowRankDelta,
    WeightDelta,
    kron,
    loha_factor,
    lokr_block,
    lokr_factor,
    own_rows,
)
from recipe_runner.runtime.lora.deltas_of_base import Roles
from recipe_runner.weights.lora import DeltaKind
from recipe_runner.weights.modules import Shape

_Pair = tuple[torch.Tensor, torch.Tensor]
"""Up [out, rank] and down [rank, columns]."""


class NoLowRank(Exception):
    """The reason why a delta has no low-rank form."""


def low_rank(change: Change, shape: Shape) -> LowRankDelta:
    """`change`, of a module whose weight has `shape`, as a pair of factors: itself if it is one.

    Raises:
        NoLowRank: with the reason in words.
    """
    if isinstance(change, LowRankDelta):
        return change
    reason = _why_not(change)
    if reason:
        raise NoLowRank(reason)
    roles = {role: tensor.double() for role, tensor in change.tensors.items()}
    # Which pair has the least rank depends on the sides of its blocks.
    up, down = min(_PAIRS[change.kind](roles), key=lambda pair: pair[1].shape[0])
    rank, whole = down.shape[0], min(up.shape[0], down.shape[1])
    if rank >= whole:
        reason = f"it is a {_NAMES[change.kind]} whose low-rank form would have rank {rank}, but the module has {whole}"
        raise NoLowRank(reason)
    if change.rows is not None:
        up = own_rows(up, change.rows)
    return LowRankDelta.shaped(change.module, down, up, change.factor * rank, shape)


_NAMES = {"loha": "LoHa", "lokr": "LoKr"}
_REASONS = {
    "full": "it is a whole weight difference",
    "norm": "it is the difference of a norm",
    "glora": "it is a GLoRA, which is computed from the base's weight",
    "ia3": "it is an IA3, which is computed from the base's weight",
    "oft": "it is an OFT, which is computed from the base's weight",
}


def _why_not(change: WeightDelta) -> str:
    if change.changes_bias:
        return "it changes a bias"
    if change.dora_axis is not None:
        return "it is a DoRA, whose difference depends on the base's weight"
    if change.kind in _REASONS:
        return f"{_REASONS[change.kind]} and has no low rank"
    return ""


def _loha(roles: Roles) -> Iterator[_Pair]:
    """The one way to write it as a pair."""
    up_1, down_1 = loha_factor(roles, 1)
    up_2, down_2 = loha_factor(roles, 2)
    up = torch.einsum("or,os->ors", up_1, up_2).flatten(1)
    down = torch.einsum("rc,sc->rsc", down_1.flatten(1), down_2.flatten(1)).flatten(0, 1)
    yield up, down


def _lokr(roles: Roles) -> Iterator[_Pair]:
    """Every way to write it as a pair."""
    first, second = _flat(lokr_factor(roles, 1)), _flat(lokr_factor(roles, 2))
    if first is not None and second is not None:
        yield kron(first[0], second[0]), kron(first[1], second[1])
    if second is not None:
        block, (up, down) = lokr_block(roles, 1), second
        yield kron(block, up), kron(_eye(block, 1), down)
        yield kron(_eye(block, 0), up), kron(block, down)
    if first is not None:
        block, (up, down) = lokr_block(roles, 2), first
        yield kron(up, block), kron(down, _eye(block, 1))
        yield kron(up, _eye(block, 0)), kron(down, block)
    if first is None and second is None:
        one, two = lokr_block(roles, 1), lokr_block(roles, 2)
        yield kron(one, _eye(two, 0)), kron(_eye(one, 1), two)
        yield kron(_eye(one, 0), two), kron(one, _eye(two, 1))


def _flat(pair: _Pair | None) -> _Pair | None:
    """A block's factors, the trailing dimensions of the lower one flattened into its columns."""
    if pair is None:
        return None
    up, down = pair
    return up, down.flatten(1)


def _eye(like: torch.Tensor, side: int) -> torch.Tensor:
    return torch.eye(like.shape[side], dtype=like.dtype)


_PAIRS: Mapping[DeltaKind, Callable[[Roles], Iterator[_Pair]]] = {"loha": _loha, "lokr": _lokr}
