"""Check the shapes of one module's tensors against the module's weight, by the formula of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from recipe_runner.problems.wording import listed
from recipe_runner.weights.lora.layout import DeltaKind
from recipe_runner.weights.modules import Shape, shape_text

_WEIGHT = "the module's weight"
_INCOMPATIBLE = "have incompatible shapes"
_MATRIX = 2
_BOFT = 4
"""Dimensions of BOFT's blocks: stages, blocks, rows, columns. OFT's have one stage and no dimension for it."""


class ShapeMismatch(Exception):
    """Why tensors do not fit their module."""

    def __init__(self, shapes: Mapping[str, Shape], problem: str) -> None:
        """The shapes of tensors by name, and what is wrong with them."""
        named = [f"{name} ({shape_text(shape)})" for name, shape in shapes.items()]
        super().__init__(f"{listed(named, 'and', quote=False)} {problem}" if named else problem)


def rank_of(kind: DeltaKind, shapes: Mapping[str, Shape], weight: Shape) -> int:
    """The rank of the tensors (0 where the kind has none), once all fit a weight of shape `weight` (out, in, …).

    `shapes` maps roles to shapes.

    Raises:
        ShapeMismatch: with the reason.
    """
    for role, shape in shapes.items():
        if 0 in shape:
            raise ShapeMismatch({role: shape}, "is empty")
        if role in ("alpha", "scalar") and prod(shape) != 1:
            raise ShapeMismatch({role: shape}, "is not a single number")
        if role in ("diff_b", "up_bias", "b_norm") and shape != weight[:1]:
            raise _other_outputs(role, shape, weight)
    if len(weight) < _MATRIX and kind not in ("full", "norm"):
        raise ShapeMismatch({_WEIGHT: weight}, "is a vector, which only `diff` or `w_norm` can change")
    dora_axis(shapes, weight)
    return _RANKS[kind](shapes, weight)


def dora_axis(shapes: Mapping[str, Shape], weight: Shape) -> int | None:
    """0 when a module's DoRA magnitude has one number per output, 1 when one per input; None when it has none.

    PEFT's `lora_magnitude_vector` is per output whatever its shape, [out] or [1, out, 1, 1].

    Raises:
        ShapeMismatch: when it has neither.
    """
    role = "dora_scale" if "dora_scale" in shapes else "lora_magnitude_vector"
    if role not in shapes:
        return None
    shape = shapes[role]
    count = prod(shape)
    one_row = role == "dora_scale" and len(shape) > 1 and shape[0] == 1
    if one_row and len(weight) > 1 and count == weight[1]:
        return 1
    if count == weight[0]:
        return 0
    raise ShapeMismatch({role: shape, _WEIGHT: weight}, _INCOMPATIBLE)


def _lora(shapes: Mapping[str, Shape], weight: Shape) -> int:
    if "rows_down" in shapes:
        return _table(shapes, weight)
    down, up = shapes["down"], shapes["up"]
    if len(down) < _MATRIX or len(up) < _MATRIX or down[0] != up[1]:
        raise ShapeMismatch({"down": down, "up": up}, _INCOMPATIBLE)
    if not _is_one(up[2:]):
        raise ShapeMismatch({"up": up}, "is not a 1x1 convolution")
    rank, kernel = down[0], down[2:]
    if "mid" in shapes:
        mid = shapes["mid"]
        if mid[:2] != (rank, rank) or not _is_one(kernel):
            raise ShapeMismatch({"mid": mid, "down": down, "up": up}, _INCOMPATIBLE)
        kernel = mid[2:]
    _require_same((up[0], down[1], *kernel), weight)
    return rank


def _table(shapes: Mapping[str, Shape], weight: Shape) -> int:
    down, up = shapes["rows_down"], shapes["rows_up"]
    if len(down) != _MATRIX or len(up) != _MATRIX or down[0] != up[1]:
        raise ShapeMismatch({"lora_embedding_A": down, "lora_embedding_B": up}, _INCOMPATIBLE)
    _require_same((down[1], up[0]), weight)
    return down[0]


def _loha(shapes: Mapping[str, Shape], weight: Shape) -> int:
    for role in ("hada_w1_b", "hada_w2_b"):
        if len(shapes[role]) != _MATRIX:
            raise ShapeMismatch({role: shapes[role]}, "is not a matrix")
    first, rank = _product(shapes, "hada_w1", "hada_t1")
    second, _ = _product(shapes, "hada_w2", "hada_t2")
    if first != second:
        raise ShapeMismatch({"the product of hada_w1": first, "of hada_w2": second}, "have different shapes")
    _require_same(first, weight)
    return rank


def _lokr(shapes: Mapping[str, Shape], weight: Shape) -> int:
    first, first_rank = _lokr_factor(shapes, "lokr_w1", "")
    second, second_rank = _lokr_factor(shapes, "lokr_w2", "lokr_t2")
    made = (first[0] * second[0], prod(first[1:]) * prod(second[1:]))
    if made != (weight[0], prod(weight[1:])):
        raise _other_shape(made, weight)
    # LyCORIS divides alpha by the rank of the second factor, and of the first only when the second is whole.
    return second_rank or first_rank


def _lokr_factor(shapes: Mapping[str, Shape], name: str, core: str) -> tuple[Shape, int]:
    """The shape of a factor of a LoKr and its rank, 0 when the file has the factor whole."""
    if name not in shapes:
        return _product(shapes, name, core)
    if len(shapes[name]) < _MATRIX:
        raise ShapeMismatch({name: shapes[name]}, "is not a matrix")
    return shapes[name], 0


def _product(shapes: Mapping[str, Shape], name: str, core: str) -> tuple[Shape, int]:
    """The shape and rank that `name`_a and `name`_b make together, with the Tucker core `core` if there is one."""
    roles = [f"{name}_a", f"{name}_b"]
    first, second = shapes[roles[0]], shapes[roles[1]]
    if core in shapes:
        roles.insert(0, core)
        fits = len(first) == len(second) == _MATRIX and shapes[core][:2] == (first[0], second[0])
        made: Shape = (*first[1:], *second[1:], *shapes[core][2:])
    else:
        fits = len(first) == _MATRIX <= len(second) and first[1] == second[0]
        made = (*first[:1], prod(second[1:]))
    if not fits:
        raise ShapeMismatch({role: shapes[role] for role in roles}, _INCOMPATIBLE)
    return made, second[0]


def _full(shapes: Mapping[str, Shape], weight: Shape) -> int:
    if "diff" in shapes:
        _require_same(shapes["diff"], weight)
    return 0


def _norm(shapes: Mapping[str, Shape], weight: Shape) -> int:
    if len(weight) != 1:
        raise ShapeMismatch({_WEIGHT: weight}, "is not that of a norm")
    if "w_norm" in shapes:
        _require_same(shapes["w_norm"], weight)
    return 0


def is_old_glora(shapes: Mapping[str, Shape], weight: Shape) -> bool:
    """Whether a GLoRA is of the first versions of LyCORIS, which swapped the names in each pair.

    Source: ComfyUI `comfy/weight_adapter/glora.py`.
    """
    factors = [shapes.get(role, ()) for role in ("a1", "a2", "b1", "b2")]
    if len(weight) < _MATRIX or any(len(factor) < _MATRIX for factor in factors):
        return False
    a1, a2, b1, b2 = factors
    outputs, inputs = weight[:2]
    one_rank = a1[0] == a2[1] == b1[0] == b2[1]
    return one_rank and (a1[1], a2[0], b1[1], b2[0]) == (inputs, inputs, inputs, outputs)


def _glora(shapes: Mapping[str, Shape], weight: Shape) -> int:
    first, second = _without_kernel(shapes["a1"]), _without_kernel(shapes["a2"])
    if len(first) != _MATRIX or first != second[::-1] or first[0] != weight[1]:
        raise ShapeMismatch({"a1": shapes["a1"], "a2": shapes["a2"], _WEIGHT: weight}, _INCOMPATIBLE)
    beside = {"up": shapes["b1"], "down": shapes["b2"]}
    if "bm" in shapes:
        beside["mid"] = shapes["bm"]
    return _lora(beside, weight)


def _ia3(shapes: Mapping[str, Shape], weight: Shape) -> int:
    if prod(shapes["scaling"]) not in weight[:2] or prod(shapes["on_input"]) != 1:
        raise ShapeMismatch({"scaling": shapes["scaling"], _WEIGHT: weight}, _INCOMPATIBLE)
    return 0


def _oft(shapes: Mapping[str, Shape], weight: Shape) -> int:
    if not _blocks_fit(shapes["oft_blocks"], weight[0]):
        raise _other_outputs("oft_blocks", shapes["oft_blocks"], weight)
    if "rescale" in shapes and prod(shapes["rescale"]) != weight[0]:
        raise _other_outputs("rescale", shapes["rescale"], weight)
    return 0


def _blocks_fit(blocks: Shape, outputs: int) -> bool:
    """Whether OFT's blocks, or every stage of BOFT's, cover the outputs of a module."""
    if len(blocks) not in (_BOFT - 1, _BOFT):
        return False
    number, rows, columns = blocks[-3:]
    if rows != columns or number * rows != outputs:
        return False
    if len(blocks) != _BOFT:
        return True
    return rows % 2 == 0 and outputs % (2 ** (blocks[0] - 1) * rows) == 0


_RANKS = {
    "lora": _lora,
    "loha": _loha,
    "lokr": _lokr,
    "full": _full,
    "norm": _norm,
    "glora": _glora,
    "ia3": _ia3,
    "oft": _oft,
}


def _require_same(made: Shape, weight: Shape) -> None:
    """A delta of shape `made` fits `weight`: equal, or equal but for 1x1 kernels, or flattened over its inputs."""
    if _without_kernel(made) != _without_kernel(weight) and made != (weight[0], prod(weight[1:])):
        raise _other_shape(made, weight)


def _other_shape(made: Shape, weight: Shape) -> ShapeMismatch:
    return ShapeMismatch({"the delta": made, _WEIGHT: weight}, "have different shapes")


def _other_outputs(role: str, shape: Shape, weight: Shape) -> ShapeMismatch:
    return ShapeMismatch({role: shape}, f"does not fit the module's {weight[0]} outputs")


def _without_kernel(shape: Shape) -> Shape:
    """The shape of a linear layer or 1x1 convolution as that of a matrix; other shapes as they are."""
    return shape[:2] if _is_one(shape[2:]) else shape


def _is_one(kernel: Shape) -> bool:
    return set(kernel) <= {1}
