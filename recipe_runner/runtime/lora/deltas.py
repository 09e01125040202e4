"""What an adapter does to one module: factors beside its weight, or a whole difference of its weight and bias.

Plain LoRA stays a pair of factors, which peft's layers apply as plain diffusers does. Every other kind becomes a whole
difference: it is computed in float64 and added to a copy of the base's weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from recipe_runner.runtime.lora.deltas_of_base import Roles, glora, ia3, oft
from recipe_runner.weights.lora import DeltaKind, Rows


@dataclass(frozen=True, eq=False)
class LowRankDelta:
    """The low-rank difference of one module: scale * alpha / rank * up @ down, reshaped to the module's weight.

    `down` is [rank, in] and `up` [out, rank]; of a convolution [rank, in, kh, kw] and [out, rank, 1, 1]; of an
    embedding table [rank, features] and [rows, rank].
    """

    module: str
    down: torch.Tensor
    up: torch.Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """Rank of the difference."""
        return int(self.down.shape[0])

    @property
    def size_bytes(self) -> int:
        """Memory that its tensors take."""
        return self.down.nbytes + self.up.nbytes

    def whole(self) -> WeightDelta:
        """The same difference, for a module of a class that peft has no layer for."""
        tensors = {"down": self.down, "up": self.up}
        return WeightDelta(self.module, "lora", tensors, self.alpha / self.rank)


@dataclass(frozen=True, eq=False)
class WeightDelta:
    """A difference of one module's weight, bias or both, as a file states it.

    Attributes:
        module: the module's name.
        kind: which of `weights.lora.FORMULAS` makes its delta.
        tensors: role to tensor.
        factor: alpha / rank; 1 where the kind has no rank.
        rows: rows of the file's delta that the module gets; None: all.
        dora_axis: 0 or 1 when there is a `dora_scale`.
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
        """Whether it has something for the module's bias."""
        return any(role in self.tensors for role in _OF_BIAS)

    def of_weight(self, base: torch.Tensor) -> torch.Tensor | None:
        """What is added to the weight `base` at scale 1: float64, of its shape, on its device; None for nothing.

        With a `dora_scale` m it is m * (W + delta) / norm(W + delta) - W, so that scales go in a straight line from the
        base to the full adapter (LyCORIS `apply_dora_scale`, ComfyUI `weight_decompose`).
        """
        roles = {role: tensor.to(base.device, torch.float64) for role, tensor in self.tensors.items()}
        if not roles.keys() - {"alpha", *_OF_BIAS}:
            return None
        # At the size of a whole model every pass over memory counts, so the large tensor is changed in place.
        if self.kind in _OF_BASE:
            delta = _OF_BASE[self.kind](roles, base.double()).mul_(self.factor)
        else:
            made = _DELTAS[self.kind](roles, self.factor)
            delta = self._own(made.flatten(1) if made.ndim > 1 else made).reshape(base.shape)
        if self.dora_axis is None:
            return delta
        weight = base.double()
        whole = delta.add_(weight)
        other = [axis for axis in range(whole.ndim) if axis != self.dora_axis]
        norm = torch.linalg.vector_norm(whole, dim=other, keepdim=True)
        magnitude = roles["dora_scale"].flatten()
        magnitude = (self._own(magnitude) if self.dora_axis == 0 else magnitude).reshape(norm.shape)
        # A row of zeros has no direction to scale; LyCORIS and peft leave it zero too.
        return whole.mul_(magnitude / norm.masked_fill_(norm == 0, 1)).sub_(weight)

    def of_bias(self, device: torch.device) -> torch.Tensor | None:
        """What is added to the bias at scale 1: float64 [out], on `device`; None for nothing."""
        if not self.changes_bias:
            return None
        found = [
            (self.factor if role == "up_bias" else 1.0) * self._own(self.tensors[role].to(device, torch.float64))
            for role in _OF_BIAS
            if role in self.tensors
        ]
        return torch.stack(found).sum(dim=0)

    def _own(self, rows: torch.Tensor) -> torch.Tensor:
        # The file has one tensor for several modules (a fused projection); this one gets its own outputs.
        return rows if self.rows is None else torch.cat([rows[first:last] for first, last in self.rows])


Change = LowRankDelta | WeightDelta

_OF_BIAS = ("up_bias", "diff_b", "b_norm")


def tucker_down(roles: Roles) -> torch.Tensor:
    """The lower factor of a LoRA, its Tucker core taken in: [rank, in, kh, kw]; a LoRA of the same rank is left."""
    if "mid" not in roles:
        return roles["down"]
    return torch.einsum("pq...,qi->pi...", roles["mid"], roles["down"].flatten(1))


def _lora(roles: Roles, factor: float) -> torch.Tensor:
    return (factor * roles["up"].flatten(1)) @ tucker_down(roles).flatten(1)


def loha_factor(roles: Roles, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One of a LoHa's two products as (up [out, rank], down [rank, in, ...])."""
    first, second = roles[f"hada_w{number}_a"], roles[f"hada_w{number}_b"]
    core = roles.get(f"hada_t{number}")
    return (first, second) if core is None else (first.T, torch.einsum("ij...,jr->ir...", core, second))


def _loha(roles: Roles, factor: float) -> torch.Tensor:
    (up, down), (second_up, second_down) = loha_factor(roles, 1), loha_factor(roles, 2)
    return ((factor * up) @ down.flatten(1)).mul_(second_up @ second_down.flatten(1))


def lokr_factor(roles: Roles, number: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """One of a LoKr's two blocks as (up [rows, rank], down [rank, columns, ...]); None when the file has it whole."""
    if f"lokr_w{number}" in roles:
        return None
    first, second = roles[f"lokr_w{number}_a"], roles[f"lokr_w{number}_b"]
    core = roles.get(f"lokr_t{number}")
    return (first, second) if core is None else (first.T, torch.einsum("ij...,jd->id...", core, second))


def lokr_block(roles: Roles, number: int) -> torch.Tensor:
    """One of a LoKr's two blocks, trailing dimensions flattened into its columns."""
    factors = lokr_factor(roles, number)
    if factors is None:
        return roles[f"lokr_w{number}"].flatten(1)
    return factors[0] @ factors[1].flatten(1)


def _lokr(roles: Roles, factor: float) -> torch.Tensor:
    return kron(factor * lokr_block(roles, 1), lokr_block(roles, 2))


def kron(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The Kronecker product; torch's own wants its arguments laid out row by row."""
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
"""`weights.lora.FORMULAS`: the delta as a matrix [out, in * kh * kw], or a vector. The number is alpha / rank, which is
taken in while the tensors are small."""

_OF_BASE: Mapping[DeltaKind, Callable[[Roles, torch.Tensor], torch.Tensor]] = {"glora": glora, "ia3": ia3, "oft": oft}
"""The same where the delta depends on the base's weight."""
