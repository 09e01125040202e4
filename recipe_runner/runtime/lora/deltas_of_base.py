"""Kinds whose delta is computed from the base's own weight: GLoRA, IA3, OFT and BOFT, as LyCORIS defines them.

Each function takes the roles and the weight [out, in, ...] in float64, and returns the weight's delta at scale 1.
Sources: LyCORIS `modules/glora.py`, `modules/ia3.py`, `functional/diag_oft.py`, `functional/boft.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

Roles = Mapping[str, torch.Tensor]


def glora(roles: Roles, weight: torch.Tensor) -> torch.Tensor:
    """(W @ a1 @ a2 + b1 @ b2), the product with A taken over the inputs; times alpha / rank by the caller."""
    first, second = roles["a1"].flatten(1), roles["a2"].flatten(1)
    own = torch.einsum("oi...,ij->oj...", weight, first @ second)
    up, down = roles["b1"].flatten(1), roles["b2"]
    if "bm" in roles:
        down = torch.einsum("pq...,qi->pi...", roles["bm"], down.flatten(1))
    return own + (up @ down.flatten(1)).reshape(weight.shape)


def ia3(roles: Roles, weight: torch.Tensor) -> torch.Tensor:
    """W times a number per input, if `on_input` is set, else per output."""
    axis = int(bool(float(roles["on_input"])))
    sizes = [1] * weight.ndim
    sizes[axis] = weight.shape[axis]
    return weight * roles["scaling"].reshape(sizes)


def oft(roles: Roles, weight: torch.Tensor) -> torch.Tensor:
    """R W - W with R orthogonal: one rotation of blocks of outputs (OFT), or several in butterfly order (BOFT)."""
    blocks = roles["oft_blocks"]
    constraint = float(roles.get("alpha", 0.0)) * weight.shape[0]
    turn = _cayley(blocks, constraint)
    turned = _TURNS[blocks.ndim](turn, weight)
    if "rescale" in roles:
        turned = turned * roles["rescale"].reshape(-1, *[1] * (weight.ndim - 1))
    return turned - weight


def _cayley(blocks: torch.Tensor, constraint: float) -> torch.Tensor:
    """(1 + Q) (1 - Q)^-1 of the skew part Q of each block; together they are scaled down to the constraint."""
    skew = blocks - blocks.transpose(-1, -2)
    length = float(skew.norm()) + 1e-8
    if 0 < constraint < length:
        skew = skew * (constraint / length)
    one = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    # X (1 - Q) = 1 + Q
    turn: torch.Tensor = torch.linalg.solve(one - skew, one + skew, left=False)
    return turn


def _blockwise(turn: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    number, size, _ = turn.shape
    parts = weight.reshape(number, size, -1)
    return torch.einsum("knm,knc->kmc", turn, parts).reshape(weight.shape)


def _butterfly(turn: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    size = turn.shape[-1]
    flat = weight.flatten(1)
    columns = flat.shape[1]
    for stage, blocks in enumerate(turn):
        stride = 2**stage * (size // 2)
        mixed = flat.reshape(-1, 2, stride, columns).transpose(1, 2).reshape(-1, size, columns)
        mixed = torch.einsum("bij,bjc->bic", blocks, mixed)
        flat = mixed.reshape(-1, stride, 2, columns).transpose(1, 2).reshape(-1, columns)
    return flat.reshape(weight.shape)


_TURNS = {3: _blockwise, 4: _butterfly}
"""How blocks are applied, by the number of their dimensions."""
