"""Guess a LoRA's and a base's model family from shapes alone, for messages. Metadata is never asked: it lies."""

from __future__ import annotations

import re
from collections.abc import Mapping

from recipe_runner.weights.modules import ModuleTable, Shape

CROSS_ATTENTION = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "the SDXL refiner"}
"""Width of the text that a UNet's cross-attention reads, by family."""

_KEYS_OF_OTHERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (r"double_blocks?[._]\d|single_blocks?[._]\d|single_transformer_blocks[._]\d", "Flux"),
        (r"joint_blocks[._]\d", "SD 3"),
        (r"transformer_blocks[._]\d+[._]attn[._]add_q_proj", "an MMDiT such as SD 3 or Qwen-Image"),
        (r"(?:^|[._])blocks[._]\d+[._](?:cross_attn|self_attn)", "Wan"),
        (r"noise_refiner|context_refiner", "Lumina or Z-Image"),
    )
)
_CROSS_KEY = re.compile(r"attn2[._](?:processor[._])?to_[kv]")


def adapter_family(shapes: Mapping[str, Shape]) -> tuple[str, int | None] | None:
    """The family that the file's names and shapes are of, and its cross-attention width where that tells it."""
    for key, shape in shapes.items():
        for pattern, family in _KEYS_OF_OTHERS:
            if pattern.search(key):
                return family, None
        width = _width(key, shape)
        if width in CROSS_ATTENTION:
            return CROSS_ATTENTION[width], width
    return None


def _width(key: str, shape: Shape) -> int:
    if len(shape) < 2 or not _CROSS_KEY.search(key):  # noqa: PLR2004 - a matrix
        return 0
    if re.search(r"lora[._]down\.weight$|lora_A\.(?:\w+\.)?weight$|hada_w[12]_b$|\.diff$", key):
        return shape[1]
    return 0


def base_family(table: ModuleTable) -> tuple[str, int | None] | None:
    """The family of a base, from the modules of its denoiser."""
    for name, shape in table.get("unet", {}).items():
        if name.endswith("attn2.to_k") and len(shape) > 1:
            return CROSS_ATTENTION.get(shape[1], "a UNet of its own"), shape[1]
    transformer = table.get("transformer", {})
    if "single_transformer_blocks.0.attn.to_q" in transformer:
        return "Flux", None
    if "pos_embed.proj" in transformer and "transformer_blocks.0.attn.add_q_proj" in transformer:
        return "SD 3", None
    return None


def advice(shapes: Mapping[str, Shape], table: ModuleTable) -> str:
    """One sentence on why a file does not fit a base as a whole, or nothing when that is not plain."""
    adapter, base = adapter_family(shapes), base_family(table)
    if adapter is None or base is None or adapter[0] == base[0]:
        return ""
    if adapter[1] and base[1]:
        return f"this LoRA has cross-attention width {adapter[1]} ({adapter[0]}); the base's is {base[1]} ({base[0]})"
    return f"this LoRA is for {adapter[0]}; the base is {base[0]}"
