"""What a LoRA or LyCORIS file changes, judged without a base: modules as it names them, shapes, ranks, layout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from recipe_runner.weights.lora.dialects import Claim, claim
from recipe_runner.weights.lora.indexed import is_list
from recipe_runner.weights.lora.roles import kind_of, split_key
from recipe_runner.weights.modules import Shape


@dataclass(frozen=True, slots=True)
class Delta:
    """What one module gets: the shape of its weight as far as the factors tell it, and the rank (0: none)."""

    claim: Claim
    roles: Mapping[str, str]
    kind: str
    made: Shape
    rank: int


def deltas_of(shapes: Mapping[str, Shape]) -> tuple[list[Delta], list[str]]:
    """Every module's tensors, and the keys that are of no LoRA or LyCORIS kind."""
    stems: dict[str, dict[str, str]] = {}
    others: list[str] = []
    for key in shapes:
        split = split_key(key)
        if split is None:
            others.append(key)
        else:
            stems.setdefault(split.stem, {})[split.role] = key
    return [_delta(stem, roles, shapes) for stem, roles in stems.items()], others


def _delta(stem: str, roles: Mapping[str, str], shapes: Mapping[str, Shape]) -> Delta:
    own = {role: shapes[key] for role, key in roles.items()}
    made, rank = _made(own)
    return Delta(claim(stem, {}), roles, kind_of(frozenset(roles)), made, rank)


def _made(own: Mapping[str, Shape]) -> tuple[Shape, int]:
    """The shape of the weight that factors make, and their rank; an empty shape when they are not a pair."""
    down, up = own.get("down", ()), own.get("up", ())
    if len(down) > 1 and len(up) > 1:
        return (up[0], down[1], *own.get("mid", down)[2:]), down[0]
    first, second = own.get("hada_w1_a", ()), own.get("hada_w1_b", ())
    if first and second:
        core = own.get("hada_t1", ())
        outputs = first[-1] if core else first[0]
        return (outputs, second[-1], *core[2:]), second[0]
    if any(role.startswith("lokr_") for role in own):
        return _kron(own)
    return own.get("diff", own.get("w_norm", ())), 0


def _kron(own: Mapping[str, Shape]) -> tuple[Shape, int]:
    first, _ = _factor(own, "lokr_w1", None)
    second, rank = _factor(own, "lokr_w2", own.get("lokr_t2"))
    if len(first) < 2 or len(second) < 2:  # noqa: PLR2004
        return (), rank
    return (first[0] * second[0], first[1] * second[1], *second[2:]), rank


def _factor(own: Mapping[str, Shape], name: str, core: Shape | None) -> tuple[Shape, int]:
    if name in own:
        return own[name], 0
    first, second = own.get(f"{name}_a", ()), own.get(f"{name}_b", ())
    if len(first) < 2 or len(second) < 2:  # noqa: PLR2004
        return (), 0
    if core is not None:
        return (first[1], second[1], *core[2:]), second[0]
    return (first[0], prod(second[1:])), second[0]


_INDEXED = re.compile(r"^(?P<component>unet|text_encoder|text_encoder_2):\d{1,5}:(?P<role>up|down)$")


def indexed_deltas(shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Shape, int]]:
    """Component, made shape and rank of cloneofsimo's numbered modules."""
    for key, shape in shapes.items():
        match = _INDEXED.match(key)
        if match and match["role"] == "down" and len(shape) > 1:
            up = shapes.get(f"{key.removesuffix('down')}up") or (0,)
            yield match["component"], (up[0], shape[1]), shape[0]


def listed_deltas(shapes: Mapping[str, Shape]) -> list[tuple[Shape, int]]:
    """Made shape and rank of cloneofsimo's pickled lists, which are up and down in turn; empty for other files."""
    if not is_list(shapes):
        return []
    pairs = len(shapes) // 2
    found: list[tuple[Shape, int]] = []
    for number in range(pairs):
        up, down = shapes[str(2 * number)], shapes[str(2 * number + 1)]
        if len(up) < 2 or len(down) < 2 or up[1] != down[0]:  # noqa: PLR2004
            return []
        found.append(((up[0], down[1]), down[0]))
    return found


def layout_of(deltas: list[Delta]) -> str:
    """The trainer's layout, by how most of the names are written."""
    # TheLastBen's files mix the original names of a UNet's blocks with those of diffusers.
    blocks = {delta.claim.name.partition("_blocks")[0] for delta in deltas if delta.claim.layout == "kohya"}
    if {"input", "down"} <= blocks or {"output", "up"} <= blocks:
        return "thelastben"
    counts = Counter(map(_layout, deltas))
    return max(counts, key=counts.__getitem__, default="")


def _layout(delta: Delta) -> str:
    key = next(iter(delta.roles.values()))
    layout = delta.claim.layout
    if re.search(r"(?:double|single)_blocks\.\d+\.processor\.", key):
        return "xlabs"
    if key.startswith("lora_transformer_"):
        return "onetrainer"
    as_peft = re.search(r"\.lora_[AB]\b", key) is not None
    if layout == "diffusion_model":
        return "ai-toolkit" if as_peft else "comfyui"
    if not layout.startswith("bare"):
        return layout.removesuffix(" attention processors")
    if as_peft and re.match(r"(?:double|single)_blocks\.", key):
        return "bfl"
    return "diffusers" if ".processor." in key else "peft"
