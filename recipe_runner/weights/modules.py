"""The modules of a base's components that a LoRA can change, from the headers of their weights files.

Names are those of `named_modules()` in memory, restricted to modules that own a `.weight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]
Modules: TypeAlias = Mapping[str, Shape]
"""Module name to the shape of its weight."""
ModuleTable: TypeAlias = Mapping[str, Modules]
"""Component name to its modules; the denoiser is called `unet` or `transformer`."""

TEXT_MODEL = "text_model."


def shape_text(shape: Shape) -> str:
    """A shape in messages: `320x768`, or `scalar`."""
    return "x".join(map(str, shape)) or "scalar"


def component_modules(shapes: Mapping[str, Shape], class_name: str | None = None) -> dict[str, Shape]:
    """Module names and weight shapes of one component, from the tensors of its weights file.

    transformers 5 flattened `CLIPTextModel`: files written before have `text_model.encoder…`, the model in memory
    has `encoder…`. `CLIPTextModelWithProjection` keeps the prefix. Without `class_name`, the projection decides.
    """
    flat = class_name == "CLIPTextModel"
    if class_name is None and "text_projection.weight" not in shapes:
        flat = any(name.startswith(f"{TEXT_MODEL}encoder.layers.") and name.endswith(".weight") for name in shapes)
    modules: dict[str, Shape] = {}
    for name, shape in shapes.items():
        if name.endswith(".weight"):
            module = name.removesuffix(".weight")
            modules[module.removeprefix(TEXT_MODEL) if flat else module] = shape
    return modules


def under(prefix: str, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
