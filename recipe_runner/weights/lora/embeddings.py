"""Learned tokens that trainers store with a LoRA: cloneofsimo's `<s1>`, Kohya's and OneTrainer's `bundle_emb`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from recipe_runner.weights.embedding import token_width
from recipe_runner.weights.modules import ModuleTable, Shape, shape_text

_BUNDLE = re.compile(r"bundle_emb\.(?P<token>.+?)\.(?P<part>clip_l|clip_g|string_to_param\.\*|emb_params)")
_PARTS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}


def embedding_of(key: str, metadata: Mapping[str, str]) -> tuple[str, str] | None:
    """Token and component of a learned token's vectors, or None when `key` holds something else."""
    if metadata.get(key) == "<embed>":
        return key, "text_encoder"
    match = _BUNDLE.fullmatch(key)
    if match is None:
        return None
    return match["token"], _PARTS.get(match["part"], "text_encoder")


def misfit(shape: Shape, component: str, table: ModuleTable) -> str:
    """Why vectors of `shape` do not fit the component's token table; empty when they fit."""
    modules = table.get(component)
    if modules is None:
        return f"the base has no {component}"
    width = token_width(modules)
    if width is None:
        return f"the base's {component} has no table of tokens"
    if len(shape) not in (1, 2) or 0 in shape or shape[-1] != width:
        return f"the vectors are {shape_text(shape)} and the {component}'s tokens are {width} wide"
    return ""
