"""The change of one module by an adapter: a low-rank delta beside its weight, or a delta of its weight and bias.

Plain LoRA stays a pair of factors, which peft's layers apply as diffusers does. Every other kind becomes a whole delta:
it is computed in float64 and added to a copy of the base's weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch

from recipe_runner.runtime.lora.deltas_of_base import Roles, glora, ia3, oft
from recipe_runner.weights.lora import DeltaKind, Rows
from recipe_runner.weights.modules import Shape


@dataclass(frozen=True, eq=False)
class LowRankDelta:
    """The low-rank delta of one module: scale * alpha / rank * up @ down, reshaped to the module's weight.

    `down` is [rank, in] and `up` [out, rank]; of a convolution [rank, in, kh, kw] and [out, rank, 1, 1]; of an
    embedding table [rank, features] and [rows, rank].
    """

    module: str
    down: torch.Tensor
    up: torch.Tensor
    alpha: float

    @classmethod
    def shaped(cls, module: str, down: torch.Tensor, up: torch.Tensor, alpha: float, shape: Shape) -> Self:
        """The delta of `module`, whose weight has `shape`; the factors are reshaped to it."""
        rank = down.shape[0]
        up = up.reshape(shape[0], rank, *[1] * len(shape[2:]))
        return cls(module, down.reshape(rank, *shape[1:]), up, alpha)

    @property
    def rank(self) -> int:
        """Rank of the delta."""
        return int(self.down.shape[0])

    @property
    def size_bytes(self) -> int:
        """Memory that its tensors take."""
        return self.down.nbytes + self.up.nbytes

    def whole(self) -> WeightDelta:
        """The same delta, for a module of a class that peft has no layer for."""
        tensors = {"down": self.down, "up": self.up}
        return WeightDelta(self.module, "lora", tensors, self.alpha / self.rank)


@dataclass(frozen=True, eq=False)
class WeightDelta:
    """A delta of one module's weight, bias or both, as a file states it.

    Attributes:
        module: the module's name.
        kind: which of `weights.lora.FORMULAS` makes its delta.
        tensors: role to tensor.
        factor: alpha / rank; 1 where the kind has no rank.
        rows: rows of the file's delta that the module gets; None: all.
        dora_axis: 0 or 1 with a `dora_scale`, else None.
    """

    module: str
    kind: DeltaKind
    tensors: Mapping[str, torch.Tensor]
    factor: float
    rows: Rows | None = None
    dora_axis: int | None = None

    @property
    def size_bytes(self) -> int:
        """Memory that its tensors take."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def changes_bias(self) -> bool:
        """Whether it changes the module's bias."""
        return not self.tensors.keys().isdisjoint(_OF_BIAS)

    def of_weight(self, base: torch.Tensor) -> torch.Tensor | None:
        """The delta of the weight `base` at scale 1: float64, of its shape, on its device; None if it is unchanged.

        With a `dora_scale` m it is m * (W + delta) / norm(W + delta) - W, so that a scale interpolates linearly between
        the base and the full adapter (LyCORIS `apply_dora_scale`, ComfyUI `weight_decompose`).
        """
        roles = {role: tensor.to(base.device, torch.float64) for role, tensor in self.tensors.items()}
        if not roles.keys() - {"alpha", *_OF_BIAS}:
            return None
        delta = self._delta(roles, base)
        if self.dora_axis is None:
            return delta
        # For a whole model every pass over memory counts, so the large tensor is changed in place.
        weight = base.double()
        whole = delta.add_(weight)
        other = [axis for axis in range(whole.ndim) if axis != self.dora_axis]
        norm = torch.linalg.vector_norm(whole, dim=other, keepdim=True)
        magnitude = roles["dora_scale"].flatten()
        if self.dora_axis == 0:
            magnitude = self._own(magnitude)
        # A row of zeros has no direction to scale; LyCORIS and peft leave it zero too.
        return whole.mul_(magnitude.reshape(norm.shape) / norm.masked_fill_(norm == 0, 1)).sub_(weight)

    def of_bias(self, device: torch.device) -> torch.Tensor | None:
        """The delta of the bias at scale 1: float64 [out], on `device`; None if it is unchanged."""
        if not self.changes_bias:
            return None
        found = []
        for role in _OF_BIAS:
            if role in self.tensors:
                delta = self._own(self.tensors[role].to(device, torch.float64))
                found.append((self.factor if role == "up_bias" else 1.0) * delta)
        return torch.stack(found).sum(dim=0)

    def _delta(self, roles: Roles, base: torch.Tensor) -> torch.Tensor:
        if self.kind in _OF_BASE:
            return _OF_BASE[self.kind](roles, base.double()).mul_(self.factor)
        made = _DELTAS[self.kind](roles, self.factor)
        if made.ndim > 1:
            made = made.flatten(1)
        return self._own(made).reshape(base.shape)

    def _own(self, rows: torch.Tensor) -> torch.Tensor:
        return rows if self.rows is None else own_rows(rows, self.rows)


Change = LowRankDelta | WeightDelta

_OF_BIAS = ("up_bias", "diff_b", "b_norm")


def own_rows(tensor: torch.Tensor, rows: Rows) -> torch.Tensor:
    """The rows of one module, of a tensor that the file has for several modules (a fused projection)."""
    return torch.cat([tensor[first:last] for first, last in rows])


def tucker_down(roles: Roles) -> torch.Tensor:
    """The lower factor of a LoRA with its Tucker core multiplied in: [rank, in, kh, kw]; the rank stays the same."""
    if "mid" not in roles:
        return roles["down"]
    return torch.einsum("pq...,qi->pi...", roles["mid"], roles["down"].flatten(1))


def _lora(roles: Roles, factor: float) -> torch.Tensor:
    return (factor * roles["up"].flatten(1)) @ tucker_down(roles).flatten(1)


def loha_factor(roles: Roles, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One of a LoHa's two products as (up [out, rank], down [rank, in, ...])."""
    first, second = roles[f"hada_w{number}_a"], roles[f"hada_w{number}_b"]
    core = roles.get(f"hada_t{number}")
    if core is None:
        return first, second
    return first.T, torch.einsum("ij...,jr->ir...", core, second)


def _loha(roles: Roles, factor: float) -> torch.Tensor:
    (up, down), (second_up, second_down) = loha_factor(roles, 1), loha_factor(roles, 2)
    return ((factor * up) @ down.flatten(1)).mul_(second_up @ second_down.flatten(1))


def lokr_factor(roles: Roles, number: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """One of a LoKr's two blocks as (up [rows, rank], down [rank, columns, ...]); None when the file has it whole."""
    if f"lokr_w{number}" in roles:
        return None
    first, second = roles[f"lokr_w{number}_a"], roles[f"lokr_w{number}_b"]
    core = roles.get(f"lokr_t{number}")
    if core is None:
        return first, second
    return first.T, torch.einsum("ij...,jd->id...", core, second)


def lokr_block(roles: Roles, number: int) -> torch.Tensor:
    """One of a LoKr's two blocks, with trailing dimensions flattened into its columns."""
    factors = lokr_factor(roles, number)
    if factors is None:
        return roles[f"lokr_w{number}"].flatten(1)
    return factors[0] @ factors[1].flatten(1)


def _lokr(roles: Roles, factor: float) -> torch.Tensor:
    return kron(factor * lokr_block(roles, 1), lokr_block(roles, 2))


def kron(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The Kronecker product; torch's own needs contiguous arguments."""
    return torch.kron(first.contiguous(), second.contiguous())


def _full(roles: Roles, factor: float) -> torch.Tensor:
    return factor * roles["diff"]


def _norm(roles: Roles, factor: float) -> torch.Tensor:
    return factor * roles["w_norm"]


_DELTAS: Mapping[DeltaKind, Callable[[Roles, float], torch.Tensor]] = {
    "lora": _lora,
    "loha": _loha,
    "lokr": _lokr,
    "full": _full,
    "norm": _norm,
}
"""`weights.lora.FORMULAS`: the delta as a matrix [out, in * kh * kw], or a vector. The number is alpha / rank,
multiplied in while the tensors are small."""

_OF_BASE: Mapping[DeltaKind, Callable[[Roles, torch.Tensor], torch.Tensor]] = {"glora": glora, "ia3": ia3, "oft": oft}
"""The same where the delta depends on the base's weight."""
