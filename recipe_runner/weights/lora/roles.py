"""Split a LoRA file's key into the name of a module and the tensor's role there."""

from __future__ import annotations

import re
from typing import NamedTuple

from recipe_runner.weights.lora.layout import DeltaKind
from recipe_runner.weights.modules import Shape


class Split(NamedTuple):
    """A key taken apart: the module's name as the file writes it, and the role of the tensor."""

    stem: str
    role: str


_ADAPTER = r"(?:\.(?!weight$|bias$|alpha$)[^.]+)?"
"""PEFT sometimes leaves the adapter's name in the key: `lora_A.default.weight`."""

_PATTERNS: tuple[tuple[re.Pattern[str], dict[str, str]], ...] = tuple(
    (re.compile(pattern), roles)
    for pattern, roles in (
        (rf"[._]lora_(?P<role>down|up|mid){_ADAPTER}\.weight$", {}),
        (rf"\.lora_(?P<role>A|B){_ADAPTER}(?:\.weight)?$", {"A": "down", "B": "up"}),
        (rf"\.lora_embedding_(?P<role>A|B){_ADAPTER}(?:\.weight)?$", {"A": "rows_down", "B": "rows_up"}),
        (rf"\.lora_(?P<role>B|up){_ADAPTER}\.bias$", {"B": "up_bias", "up": "up_bias"}),
        (r"(?:[._]lora|\.lora_linear_layer)\.(?P<role>down|up)\.weight$", {}),
        (r"(?:[._]lora|\.lora_linear_layer)?\.(?P<role>alpha)$", {}),
        (rf"\.(?P<role>lora_magnitude_vector){_ADAPTER}(?:\.weight)?$", {}),
        (r"\.(?P<role>scalar|dora_scale|diff|diff_b|w_norm|b_norm)$", {}),
        (r"\.(?P<role>hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2))$", {}),
        (r"\.(?P<role>a1|a2|b1|b2|bm)\.weight$", {}),
        (r"\.(?P<role>oft_blocks|rescale|on_input)$", {}),
        (r"\.(?P<role>down|up)\.weight$", {}),  # XLabs: processor.qkv_lora1.down.weight
    )
)

_FOREIGN: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        *(
            (pattern, f"this is a tensor of {name}, which is not applied as a lora")
            for pattern, name in (
                (r"\.ia3_", "PEFT's IA3"),
                (r"\.oft_", "PEFT's or an old OFT"),
                (r"\.boft_", "PEFT's BOFT"),
                (r"\.vera_lambda_", "VeRA"),
                (r"\.(?:[qp]_layer\.weight|lambda_layer)$", "LyCORIS's T-LoRA, whose rank depends on the timestep"),
                (r"\.(?:ip_adapter|image_proj)\b|^(?:ip_adapter|image_proj)\.", "an IP-Adapter"),
            )
        ),
        (
            r"\.modules_to_save\.|\.base_layer\.|^base_model\.model\..*\.(?:weight|bias)$",
            "PEFT trained this weight whole (modules_to_save, bias), and a lora is differences",
        ),
        (r"\.(?:reshape_weight|set_weight)$", "this makes ComfyUI replace a whole weight, and a lora is differences"),
        (r"\.scale_(?:weight|input)$", "this scales factors that were quantised, which are not read"),
    )
)

ROLES: dict[DeltaKind, tuple[frozenset[str], ...]] = {
    "lora": (frozenset({"down", "up"}), frozenset({"rows_down", "rows_up"})),
    "loha": (frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),),
    "lokr": tuple(
        frozenset(first + second)
        for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
        for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"), ("lokr_w2_a", "lokr_w2_b", "lokr_t2"))
    ),
    "full": (frozenset({"diff"}), frozenset({"diff_b"}), frozenset({"diff", "diff_b"})),
    "norm": (frozenset({"w_norm"}), frozenset({"b_norm"}), frozenset({"w_norm", "b_norm"})),
    "glora": (frozenset({"a1", "a2", "b1", "b2"}),),
    "ia3": (frozenset({"scaling", "on_input"}),),
    "oft": (frozenset({"oft_blocks"}),),
}
"""The roles each kind is made of, in every form it comes in."""

OPTIONAL: dict[DeltaKind, frozenset[str]] = {
    "lora": frozenset({"mid", "alpha", "scalar", "dora_scale", "lora_magnitude_vector", "up_bias", "diff_b"}),
    "loha": frozenset({"hada_t1", "hada_t2", "alpha", "scalar", "dora_scale", "diff_b"}),
    "lokr": frozenset({"alpha", "scalar", "dora_scale", "diff_b"}),
    "full": frozenset({"alpha"}),
    "norm": frozenset({"alpha"}),
    "glora": frozenset({"bm", "alpha", "scalar"}),
    "ia3": frozenset(),
    "oft": frozenset({"rescale", "alpha"}),
}


def split_key(key: str) -> Split | None:
    """The module's name and the role, or None when the key is of no LoRA or LyCORIS kind known here."""
    for pattern, roles in _PATTERNS:
        match = pattern.search(key)
        if match and match.start():
            role = match["role"]
            return Split(key[: match.start()], roles.get(role, role))
    # LyCORIS's IA3: a name of a whole module, with underscores for dots, has no weight of any other kind.
    match = re.fullmatch(r"((?:lora|lycoris)_\w+)\.weight", key)
    return Split(match[1], "scaling") if match else None


def foreign_reason(key: str) -> str:
    """Why a key that `split_key` does not know lands nowhere."""
    for pattern, reason in _FOREIGN:
        if pattern.search(key):
            return reason
    return "this is no tensor of a LoRA or LyCORIS kind"


def kind_of(roles: frozenset[str]) -> DeltaKind | str:
    """The kind that these roles of one module make, or in words what is missing or too much."""
    for kind, forms in ROLES.items():
        for form in forms:
            if form <= roles <= form | OPTIONAL[kind]:
                return kind
    for kind, forms in ROLES.items():
        own = frozenset().union(*forms)
        if roles & own:
            missing = min((sorted(form - roles) for form in forms), key=len)
            if missing:
                return f"its {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing from the file"
            return f"{' and '.join(sorted(roles - own - OPTIONAL[kind]))} cannot stand beside a {kind}"
    return f"a lone {' and '.join(sorted(roles))} without the tensors it belongs to"


def element_count(shape: Shape) -> int:
    """Number of elements of a tensor of this shape."""
    count = 1
    for size in shape:
        count *= size
    return count
