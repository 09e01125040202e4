"""The module that each tensor of a LoRA file changes: the one mapping that planning shows and the runtime applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from recipe_runner.weights.embedding import Vectors
from recipe_runner.weights.modules import Shape

DeltaKind = Literal["lora", "loha", "lokr", "full", "norm", "glora", "ia3", "oft"]
Rows: TypeAlias = tuple[tuple[int, int], ...]
"""Ranges of rows of a tensor, in order."""
Pieces: TypeAlias = tuple[tuple[str, Rows | None], ...]
"""Modules that share one tensor of the file, each with its rows of that tensor (None: all rows)."""
ModulePlace: TypeAlias = tuple[str, str]
"""A component and a module of it."""
Reasoned: TypeAlias = tuple[tuple[str, str], ...]
"""Keys of the file, each with a reason."""

FORMULAS: Mapping[DeltaKind, str] = {
    "lora": "delta = s * (up @ down); with `mid` (Tucker) delta[o, i, y, x] = s * sum over p, q of "
    "up[o, p] * mid[p, q, y, x] * down[q, i]; of an embedding table as PEFT has it, delta = s * (rows_up @ rows_down) "
    "transposed; s = alpha / rank",
    "loha": "delta = s * (hada_w1_a @ hada_w1_b) * (hada_w2_a @ hada_w2_b), elementwise; with `hada_t1`, `hada_t2` "
    "each factor is sum over i, j of t[i, j, y, x] * w_b[j, in] * w_a[i, out]; s = alpha / rank",
    "lokr": "delta = s * kron(w1, w2) reshaped to the module's weight; w1 = lokr_w1 or lokr_w1_a @ lokr_w1_b; w2 = "
    "lokr_w2 or lokr_w2_a @ lokr_w2_b, or sum over i, j of lokr_t2[i, j, y, x] * lokr_w2_a[i, c] * lokr_w2_b[j, d]; "
    "trailing dimensions of w2 are flattened into its columns; s = alpha / rank, or 1 when both factors are whole",
    "full": "delta = diff, bias delta = diff_b; no alpha",
    "norm": "delta = w_norm, bias delta = b_norm; no alpha",
    "glora": "delta = s * (W @ a1 @ a2 + b1 @ b2), with a Tucker core `bm` in b2 as in lora; s = alpha / rank",
    "ia3": "delta = W * scaling, per input where `on_input` is 1, else per output; no alpha",
    "oft": "delta = R W - W, R the Cayley transform of `oft_blocks` (block-diagonal, or of several stages in butterfly "
    "order: BOFT) and `rescale` per output; alpha is a constraint on the blocks' norm",
}
"""How each kind's delta is computed from its roles, before the adapter's scale. A `scalar`, which LyCORIS 1 left in the
file, is one more factor in s. In all kinds an `up_bias` is added to
the bias times s, a `diff_b` is added to the bias without s, and a `dora_scale` m renormalises: W' = m * (W + delta) /
norm(W + delta), the norm taken over all dimensions but `dora_axis` (0: per output row, as most files have it; 1: per
input column). Sources: LyCORIS `functional/` and peft `tuners/lora/dora.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraModule:
    """What one module of the base gets from the file.

    Attributes:
        component: unet, transformer, text_encoder, …
        module: its name in `named_modules()`.
        kind: which of `FORMULAS` makes its delta.
        tensors: role to the file's key.
        shape: shape of the module's weight.
        rank: the rank that alpha is divided by; 0 when the kind has none, or when both factors of a LoKr are whole and
            no PEFT metadata states one.
        alpha: alpha when the file states it outside its tensors (PEFT metadata), already such that the factor is
            alpha / rank. None: the `alpha` tensor, and without one alpha equals rank.
        rows: rows of the file's delta that this module gets, pieces in order, where the file has one tensor for several
            modules (a fused qkv); None: all of them.
        dora_axis: 0 or 1 when there is a `dora_scale`, else None.
    """

    component: str
    module: str
    kind: DeltaKind
    tensors: Mapping[str, str]
    shape: Shape
    rank: int
    alpha: float | None = None
    rows: Rows | None = None
    dora_axis: int | None = None


@dataclass(frozen=True, kw_only=True)
class LoraLayout:
    """Every tensor of a file, accounted for exactly once.

    Attributes:
        layout: the trainer's layout: `diffusers`, `kohya`, `kohya sgm`, …
        modules: what each module gets, in the file's order.
        unmatched: key and reason of every tensor that fits nothing.
        dropped: key and reason of tensors that are left out on purpose (another component than the target's, a second
            copy under another name).
        embeddings: learned tokens inside the file: token to component to its vectors.
        advice: a sentence on why the file does not fit as a whole (`this LoRA was trained on SDXL …`), or empty.
        tensor_count: how many tensors the file has.
    """

    layout: str
    modules: tuple[LoraModule, ...]
    unmatched: Reasoned = ()
    dropped: Reasoned = ()
    embeddings: Mapping[str, Mapping[str, Vectors]] = field(default_factory=dict)
    advice: str = ""
    tensor_count: int = 0

    def tensor_counts(self) -> dict[str, int]:
        """How many tensors of the file each component gets; a fused tensor counts once."""
        keys: dict[str, dict[str, None]] = {}
        for module in self.modules:
            keys.setdefault(module.component, {}).update(dict.fromkeys(module.tensors.values()))
        for parts in self.embeddings.values():
            for component, vectors in parts.items():
                keys.setdefault(component, {})[vectors.key] = None
        return {component: len(found) for component, found in keys.items()}
