"""Split a LoRA file's key into the name of a module and the tensor's role there."""

from __future__ import annotations

import re
from typing import NamedTuple

from recipe_runner.weights.lora.layout import DeltaKind


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

_OTHER_METHODS = (
    (r"\.ia3_", "PEFT's IA3"),
    (r"\.oft_", "PEFT's or an old OFT"),
    (r"\.boft_", "PEFT's BOFT"),
    (r"\.vera_lambda_", "VeRA"),
    (r"\.(?:[qp]_layer\.weight|lambda_layer)$", "LyCORIS's T-LoRA, whose rank depends on the timestep"),
    (r"\.(?:ip_adapter|image_proj)\b|^(?:ip_adapter|image_proj)\.", "an IP-Adapter"),
)
_FOREIGN = (
    (
        r"\.modules_to_save\.|\.base_layer\.|^base_model\.model\..*\.(?:weight|bias)$",
        "a whole weight that PEFT trained (modules_to_save, bias), and a lora holds differences",
    ),
    (r"\.(?:reshape_weight|set_weight)$", "a whole weight for ComfyUI to set, and a lora holds differences"),
    (r"\.scale_(?:weight|input)$", "a scale of quantised factors, which are not supported"),
)

ROLES: dict[DeltaKind, tuple[frozenset[str], ...]] = {
    "lora": (frozenset({"down", "up"}), frozenset({"rows_down", "rows_up"})),
    "loha": (frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),),
    "lokr": (
        frozenset({"lokr_w1", "lokr_w2"}),
        frozenset({"lokr_w1", "lokr_w2_a", "lokr_w2_b"}),
        frozenset({"lokr_w1", "lokr_w2_a", "lokr_w2_b", "lokr_t2"}),
        frozenset({"lokr_w1_a", "lokr_w1_b", "lokr_w2"}),
        frozenset({"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"}),
        frozenset({"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2"}),
    ),
    "full": (frozenset({"diff"}), frozenset({"diff_b"}), frozenset({"diff", "diff_b"})),
    "norm": (frozenset({"w_norm"}), frozenset({"b_norm"}), frozenset({"w_norm", "b_norm"})),
    "glora": (frozenset({"a1", "a2", "b1", "b2"}),),
    "ia3": (frozenset({"scaling", "on_input"}),),
    "oft": (frozenset({"oft_blocks"}),),
}
"""The roles that each kind needs, for every form of the kind."""

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
    """The module's name and the role, or None when the key is of no known LoRA or LyCORIS kind."""
    for pattern, roles in _PATTERNS:
        match = pattern.search(key)
        if match and match.start():
            role = match["role"]
            return Split(key[: match.start()], roles.get(role, role))
    # LyCORIS's IA3: a name of a whole module, with underscores for dots, has no weight of any other kind.
    match = re.fullmatch(r"((?:lora|lycoris)_\w+)\.weight", key)
    return Split(match[1], "scaling") if match else None


def foreign_reason(key: str) -> str:
    """What a key that `split_key` does not know is instead."""
    for pattern, method in _OTHER_METHODS:
        if re.search(pattern, key):
            return f"a tensor of {method}, which cannot be applied as a lora"
    for pattern, what in _FOREIGN:
        if re.search(pattern, key):
            return what
    return "not a tensor of a known LoRA or LyCORIS kind"


def kind_of(roles: frozenset[str]) -> DeltaKind | str:
    """The kind that these roles of one module make, or a sentence on what is missing or unexpected."""
    for kind, forms in ROLES.items():
        for form in forms:
            if form <= roles <= form | OPTIONAL[kind]:
                return kind
    for kind, forms in ROLES.items():
        if not roles & frozenset().union(*forms):
            continue
        nearest = min(forms, key=lambda form: (len(form - roles), -len(form)))
        missing = sorted(nearest - roles)
        if missing:
            return f"the file lacks its {' and '.join(missing)}"
        return f"a {kind} cannot have {' and '.join(sorted(roles - nearest - OPTIONAL[kind]))}"
    return f"only {' and '.join(sorted(roles))}, without the tensors that it belongs to"
