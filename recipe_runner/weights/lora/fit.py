"""Check the shapes of one module's tensors against the module's weight, by the formula of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from recipe_runner.weights.lora.layout import DeltaKind
from recipe_runner.weights.modules import Shape


class ShapeMismatch(Exception):
    """Why tensors do not fit their module."""


def rank_of(kind: DeltaKind, shapes: Mapping[str, Shape], weight: Shape) -> int:
    """The rank of the tensors (0 where the kind has none), once all fit a weight of shape `weight` (out, in, …).

    `shapes` maps roles to shapes.

    Raises:
        ShapeMismatch: with the reason in words.
    """
    for role, shape in shapes.items():
        if 0 in shape:
            reason = f"its {role} is {_show(shape)}, which holds nothing"
            raise ShapeMismatch(reason)
        if role in ("alpha", "scalar") and prod(shape) != 1:
            reason = f"its {role} is no single number but {_show(shape)}"
            raise ShapeMismatch(reason)
        if role in ("diff_b", "up_bias", "b_norm") and shape != weight[:1]:
            reason = f"its {role} is {_show(shape)} and the module has {weight[0]} outputs"
            raise ShapeMismatch(reason)
    if len(weight) < 2 and kind not in ("full", "norm"):  # noqa: PLR2004 - matrices and convolutions
        reason = f"the module's weight is {_show(weight)}, and only a whole difference or one of a norm is for vectors"
        raise ShapeMismatch(reason)
    dora_axis(shapes, weight)
    return _RANKS[kind](shapes, weight)


def dora_axis(shapes: Mapping[str, Shape], weight: Shape) -> int | None:
    """0 when a module's DoRA magnitude has one number per output, 1 when one per input; None when it has none.

    PEFT's `lora_magnitude_vector` is per output whatever its shape, [out] or [1, out, 1, 1].

    Raises:
        ShapeMismatch: when it has neither.
    """
    role = next((role for role in ("dora_scale", "lora_magnitude_vector") if role in shapes), None)
    if role is None:
        return None
    shape = shapes[role]
    flat = prod(shape)
    per_input = role == "dora_scale" and len(shape) > 1 and shape[0] == 1
    if per_input and len(weight) > 1 and flat == weight[1] and not (shape[1] == 1 and flat != weight[1]):
        return 1
    if flat == weight[0]:
        return 0
    reason = f"its {role} is {_show(shape)} and the module {_show(weight)}"
    raise ShapeMismatch(reason)


def _lora(shapes: Mapping[str, Shape], weight: Shape) -> int:
    if "rows_down" in shapes:
        return _table(shapes, weight)
    down, up = shapes["down"], shapes["up"]
    if len(down) < 2 or len(up) < 2 or down[0] != up[1]:  # noqa: PLR2004 - matrices at least
        reason = f"its down {_show(down)} and up {_show(up)} do not multiply"
        raise ShapeMismatch(reason)
    rank = down[0]
    kernel = down[2:]
    if any(size != 1 for size in up[2:]):
        reason = f"its up {_show(up)} is no 1x1 convolution"
        raise ShapeMismatch(reason)
    if "mid" in shapes:
        mid = shapes["mid"]
        if mid[:2] != (rank, rank) or any(size != 1 for size in kernel):
            reason = f"its mid {_show(mid)} does not go between down {_show(down)} and up {_show(up)}"
            raise ShapeMismatch(reason)
        kernel = mid[2:]
    _same((up[0], down[1], *kernel), weight)
    return rank


def _table(shapes: Mapping[str, Shape], weight: Shape) -> int:
    down, up = shapes["rows_down"], shapes["rows_up"]
    if len(down) != 2 or len(up) != 2 or down[0] != up[1]:  # noqa: PLR2004 - matrices
        reason = f"its lora_embedding_A {_show(down)} and lora_embedding_B {_show(up)} do not multiply"
        raise ShapeMismatch(reason)
    _same((down[1], up[0]), weight)
    return down[0]


def _loha(shapes: Mapping[str, Shape], weight: Shape) -> int:
    sizes: list[Shape] = []
    ranks = []
    for number in "12":
        first, second = shapes[f"hada_w{number}_a"], shapes[f"hada_w{number}_b"]
        core = shapes.get(f"hada_t{number}")
        if len(first) != 2 or len(second) != 2:  # noqa: PLR2004
            reason = f"its hada_w{number} factors {_show(first)} and {_show(second)} are no matrices"
            raise ShapeMismatch(reason)
        if core is None:
            if first[1] != second[0]:
                reason = f"its hada_w{number} factors {_show(first)} and {_show(second)} do not multiply"
                raise ShapeMismatch(reason)
            sizes.append((first[0], second[1]))
            ranks.append(second[0])
        else:
            if core[:2] != (first[0], second[0]):
                reason = f"its hada_t{number} {_show(core)} does not go between {_show(first)} and {_show(second)}"
                raise ShapeMismatch(reason)
            sizes.append((first[1], second[1], *core[2:]))
            ranks.append(second[0])
    if sizes[0] != sizes[1]:
        reason = f"its two factors make {_show(sizes[0])} and {_show(sizes[1])}"
        raise ShapeMismatch(reason)
    _same(sizes[0], weight)
    return ranks[0]


def _lokr(shapes: Mapping[str, Shape], weight: Shape) -> int:
    first, first_rank = _factor(shapes, "lokr_w1", None)
    second, second_rank = _factor(shapes, "lokr_w2", shapes.get("lokr_t2"))
    if (first[0] * second[0], prod(first[1:]) * prod(second[1:])) != (weight[0], prod(weight[1:])):
        made = f"{first[0] * second[0]}x{prod(first[1:]) * prod(second[1:])}"
        reason = f"its factors make {made} and the module is {_show(weight)}"
        raise ShapeMismatch(reason)
    # LyCORIS divides alpha by the rank of the second factor, and of the first only when the second is whole.
    return second_rank or first_rank


def _factor(shapes: Mapping[str, Shape], name: str, core: Shape | None) -> tuple[Shape, int]:
    if name in shapes:
        if len(shapes[name]) < 2:  # noqa: PLR2004
            reason = f"its {name} is {_show(shapes[name])}, no matrix"
            raise ShapeMismatch(reason)
        return shapes[name], 0
    first, second = shapes[f"{name}_a"], shapes[f"{name}_b"]
    if core is not None:
        if len(first) != 2 or len(second) != 2 or core[:2] != (first[0], second[0]):  # noqa: PLR2004
            reason = f"its lokr_t2 {_show(core)} does not go between {_show(first)} and {_show(second)}"
            raise ShapeMismatch(reason)
        return (first[1], second[1], *core[2:]), second[0]
    if len(first) != 2 or len(second) < 2 or first[1] != second[0]:  # noqa: PLR2004
        reason = f"its {name} factors {_show(first)} and {_show(second)} do not multiply"
        raise ShapeMismatch(reason)
    return (first[0], prod(second[1:])), second[0]


def _full(shapes: Mapping[str, Shape], weight: Shape) -> int:
    if "diff" in shapes:
        _same(shapes["diff"], weight)
    return 0


def _norm(shapes: Mapping[str, Shape], weight: Shape) -> int:
    if len(weight) != 1:
        reason = f"it is a difference of a norm, and the module's weight is {_show(weight)}"
        raise ShapeMismatch(reason)
    if "w_norm" in shapes:
        _same(shapes["w_norm"], weight)
    return 0


def is_old_glora(shapes: Mapping[str, Shape], weight: Shape) -> bool:
    """Whether a GLoRA is of the first versions of LyCORIS, which called the two of each pair the other way round.

    Source: ComfyUI `comfy/weight_adapter/glora.py`.
    """
    pairs = [(shapes.get(f"{name}1", ()), shapes.get(f"{name}2", ())) for name in "ab"]
    if any(len(first) < 2 or len(second) < 2 for first, second in pairs):  # noqa: PLR2004
        return False
    (a1, a2), (b1, b2) = pairs
    return a1[0] == a2[1] == b1[0] == b2[1] and (a1[1], a2[0], b1[1], b2[0]) == (*weight[1:2] * 3, weight[0])


def _glora(shapes: Mapping[str, Shape], weight: Shape) -> int:
    first, second = shapes["a1"], shapes["a2"]
    matrices = len(first) > 1 and len(second) > 1 and all(size == 1 for size in (*first[2:], *second[2:]))
    if not matrices or first[:2] != second[1::-1] or first[0] != weight[1]:
        reason = f"its a1 {_show(first)} and a2 {_show(second)} do not go round the module's {weight[1]} inputs"
        raise ShapeMismatch(reason)
    own = {"up": shapes["b1"], "down": shapes["b2"]} | ({"mid": shapes["bm"]} if "bm" in shapes else {})
    return _lora(own, weight)


def _ia3(shapes: Mapping[str, Shape], weight: Shape) -> int:
    if prod(shapes["scaling"]) not in weight[:2] or prod(shapes["on_input"]) != 1:
        reason = f"its numbers are {_show(shapes['scaling'])} and the module is {_show(weight)}"
        raise ShapeMismatch(reason)
    return 0


def _oft(shapes: Mapping[str, Shape], weight: Shape) -> int:
    blocks = shapes["oft_blocks"]
    stages = blocks[0] if len(blocks) == 4 else 1  # noqa: PLR2004 - BOFT
    number, size = blocks[-3:-1] if len(blocks) in (3, 4) else (0, 0)
    fits = bool(size) and blocks[-1] == size and number * size == weight[0]
    if fits and len(blocks) == 4:  # noqa: PLR2004
        fits = size % 2 == 0 and weight[0] % (2 ** (stages - 1) * size) == 0
    if not fits:
        reason = f"its oft_blocks are {_show(blocks)} and the module has {weight[0]} outputs"
        raise ShapeMismatch(reason)
    if "rescale" in shapes and prod(shapes["rescale"]) != weight[0]:
        reason = f"its rescale is {_show(shapes['rescale'])} and the module has {weight[0]} outputs"
        raise ShapeMismatch(reason)
    return 0


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


def _same(made: Shape, weight: Shape) -> None:
    """A delta of shape `made` fits `weight`: equal, or equal but for 1x1 kernels, or flattened over its inputs."""
    if _bare(made) == _bare(weight) or made == (weight[0], prod(weight[1:])):
        return
    reason = f"it makes {_show(made)} and the module is {_show(weight)}"
    raise ShapeMismatch(reason)


def _bare(shape: Shape) -> Shape:
    return shape[:2] if all(size == 1 for size in shape[2:]) else shape


def _show(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a single number"
