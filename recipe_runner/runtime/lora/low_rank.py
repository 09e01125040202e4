"""Pairs of factors that are exactly a LoHa or a LoKr, where their product has a low rank.

The Hadamard product of two products is a product of the row-wise and column-wise Kronecker products of their factors,
of rank r²; the Kronecker product of a block and a product of factors is kron(w1, up) @ kron(1, down), of rank r times
a side of w1. Both hold exactly (Khatri and Rao 1968; Van Loan 2000).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from recipe_runner.runtime.lora.deltas import (
    Change,
    LowRankDelta,
    WeightDelta,
    kron,
    loha_factor,
    lokr_block,
    lokr_factor,
)
from recipe_runner.runtime.lora.deltas_of_base import Roles
from recipe_runner.weights.modules import Shape

_Pair = tuple[torch.Tensor, torch.Tensor]
"""Up [out, rank] and down [rank, columns]."""


class NoLowRank(Exception):
    """Why a difference is no pair of factors of low rank."""


def low_rank(change: Change, shape: Shape) -> LowRankDelta:
    """`change`, of a module whose weight has `shape`, as a pair of factors: itself where it is one.

    Raises:
        NoLowRank: with the reason in words.
    """
    if isinstance(change, LowRankDelta):
        return change
    what = _other(change)
    if what:
        raise NoLowRank(what)
    roles = {role: tensor.double() for role, tensor in change.tensors.items()}
    up, down = _loha(roles) if change.kind == "loha" else min(_lokr(roles), key=lambda pair: pair[1].shape[0])
    rank, whole = down.shape[0], min(up.shape[0], down.shape[1])
    if rank >= whole:
        reason = f"it is a {_NAMES[change.kind]} whose low-rank form would have rank {rank}, and the module {whole}"
        raise NoLowRank(reason)
    if change.rows is not None:
        up = torch.cat([up[first:last] for first, last in change.rows])
    return LowRankDelta(
        change.module,
        down.reshape(rank, *shape[1:]),
        up.reshape(shape[0], rank, *(1 for _ in shape[2:])),
        change.factor * rank,
    )


_NAMES = {"loha": "LoHa", "lokr": "LoKr"}
_REASONS = {
    "full": "it is a whole difference",
    "norm": "it is the difference of a norm",
    "glora": "it is a GLoRA, made of the base's weight",
    "ia3": "it is an IA3, made of the base's weight",
    "oft": "it is an OFT, made of the base's weight",
}


def _other(change: WeightDelta) -> str:
    if change.changes_bias:
        return "it changes a bias"
    if change.dora_axis is not None:
        return "it is a DoRA, whose difference depends on the base's weight"
    if change.kind in _REASONS:
        return f"{_REASONS[change.kind]}, of no low rank"
    return ""


def _loha(roles: Roles) -> _Pair:
    (up_1, down_1), (up_2, down_2) = (loha_factor(roles, number) for number in (1, 2))
    up = torch.einsum("or,os->ors", up_1, up_2).flatten(1)
    down = torch.einsum("rc,sc->rsc", down_1.flatten(1), down_2.flatten(1)).flatten(0, 1)
    return up, down


def _lokr(roles: Roles) -> Iterator[_Pair]:
    """Every way to write it as a pair; which has the least rank depends on the sides of its blocks."""
    first, second = (_flat(lokr_factor(roles, number)) for number in (1, 2))
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
    return None if pair is None else (pair[0], pair[1].flatten(1))


def _eye(like: torch.Tensor, side: int) -> torch.Tensor:
    return torch.eye(like.shape[side], dtype=like.dtype)
