"""LoRA and LyCORIS files of any trainer: the module that each tensor changes, and the scale of each module."""

from __future__ import annotations

from recipe_runner.weights.lora.layout import FORMULAS, DeltaKind, LoraLayout, LoraModule, Rows
from recipe_runner.weights.lora.merged import SAME_RANK, merged_layout
from recipe_runner.weights.lora.read import read_layout
from recipe_runner.weights.lora.scales import expand_scales
from recipe_runner.weights.lora.verdict import AdapterMismatch, require_alpha, require_floats, require_whole

__all__ = [
    "FORMULAS",
    "SAME_RANK",
    "AdapterMismatch",
    "DeltaKind",
    "LoraLayout",
    "LoraModule",
    "Rows",
    "expand_scales",
    "merged_layout",
    "read_layout",
    "require_alpha",
    "require_floats",
    "require_whole",
]
