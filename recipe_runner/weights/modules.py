"""The modules of a base's components, from the headers of their weights files: what a LoRA can land on.

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
    has `encoder…`. `CLIPTextModelWithProjection` keeps the prefix. Without `class_name` the projection tells.
    """
    modules = {name.removesuffix(".weight"): shape for name, shape in shapes.items() if name.endswith(".weight")}
    if class_name is None and "text_projection" not in modules:
        flat = any(name.startswith(f"{TEXT_MODEL}encoder.layers.") for name in modules)
    else:
        flat = class_name == "CLIPTextModel"
    if not flat:
        return modules
    return {name.removeprefix(TEXT_MODEL): shape for name, shape in modules.items()}
