"""Which model family a LoRA and a base are of, from names and shapes alone. Metadata is not read, because it lies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from recipe_runner.pipelines.family import SDXL, UNET_FAMILIES
from recipe_runner.weights.families.denoiser_family import FamilyFound, family_called, family_of
from recipe_runner.weights.families.denoisers import outline
from recipe_runner.weights.lora.deltas import Delta, deltas_of, indexed_deltas, listed_deltas
from recipe_runner.weights.lora.dialects import DENOISES
from recipe_runner.weights.lora.names import names_of
from recipe_runner.weights.modules import ModuleTable, Shape

CROSS_ATTENTION = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "the SDXL refiner"}
"""Width of the text that a UNet's cross-attention reads, by family."""

DENOISERS = (None, "transformer_2", *DENOISES)
"""The dialects' names of components that denoise; None for a name without a component."""
_FIRST = re.compile(r"(?:^|[._])(?:x_embedder|img_in|conv_in|input_blocks[._]0[._]0)$")
_GUIDANCE = re.compile(r"guidance_(?:in|embedder)[._]")
_CROSS = re.compile(r"attn2[._]to_[kv]$")


def family_of_deltas(deltas: Sequence[Delta]) -> FamilyFound | None:
    """The family of the modules that a file changes; None where they show none."""
    modules = [(plain_name(delta), delta.made) for delta in deltas if delta.claim.component in DENOISERS]
    return family_of(outline(modules)) or _by_depth([name for name, _ in modules])


def family_of_indexed(shapes: Mapping[str, Shape]) -> FamilyFound | None:
    """The family of a file that counts its modules by number, by the width of the text that its UNet reads."""
    widths = {shape[1] for component, shape, _ in indexed_deltas(shapes) if component == "unet"}
    widths |= {shape[1] for shape, _ in listed_deltas(shapes)}
    for model in UNET_FAMILIES:
        if model.text_width in widths:
            family = family_called(model.name)
            return FamilyFound(family, f"the UNet's text is {model.text_width} wide, as in {family.title}")
    return None


def plain_name(delta: Delta) -> str:
    """The module's name without what trainers wrap around it."""
    name = delta.claim.name.replace(".processor.", ".")
    for prefix in ("unet_", "diffusion_model.", "transformer."):
        name = name.removeprefix(prefix)
    return name


def _by_depth(names: Sequence[str]) -> FamilyFound | None:
    """SDXL's UNet by how deep it is, when no cross-attention tells its width."""
    text = "\n".join(names).replace(".", "_")
    deep = re.search(r"(?:^|_)(?:down|up|input|output)_blocks_.*transformer_blocks_[2-9]_", text, re.MULTILINE)
    if deep is None:
        return None
    sdxl = family_called(SDXL.name)
    return FamilyFound(sdxl, f"{deep[0].strip('_')} is as deep as in {sdxl.title}")


def family_of_base(table: ModuleTable) -> FamilyFound | None:
    """The family of a base, from the modules of its denoiser."""
    denoiser = table.get("unet") or table.get("transformer", {})
    return family_of(outline(denoiser.items()))


def advice(shapes: Mapping[str, Shape], table: ModuleTable) -> str:
    """One sentence on why a file does not fit a base as a whole; empty when the tensors do not show it."""
    deltas, _ = deltas_of(shapes)
    if any("motion_modules" in delta.claim.name for delta in deltas):
        return "this LoRA is for AnimateDiff's motion modules, which recipes do not support"
    adapter, base = family_of_indexed(shapes) or family_of_deltas(deltas), family_of_base(table)
    if adapter is None or (base is not None and base.family == adapter.family):
        return _further_inputs(deltas, table) or _guidance(deltas, table)
    return _other_family(adapter.family.title, base.family.title if base is not None else "", deltas, table)


def _other_family(trained_on: str, base: str, deltas: Sequence[Delta], table: ModuleTable) -> str:
    """The two families, with the widths of their text where both are UNets; `base` is empty for an unknown family."""
    own_width = _width([(plain_name(delta), delta.made) for delta in deltas])
    base_width = _width(table.get("unet", {}).items())
    if not base:
        if not base_width:
            return ""
        base = "a UNet of an unknown family"
    if own_width and base_width:
        trained_on += f" (cross-attention width {own_width})"
        base += f" (cross-attention width {base_width})"
    return f"this LoRA was trained on {trained_on}; the base is {base}"


def _further_inputs(deltas: Sequence[Delta], table: ModuleTable) -> str:
    """What a LoRA is for when its first layer reads more channels than the base's."""
    for delta in deltas:
        if len(delta.made) < 2 or not _FIRST.search(delta.claim.name):  # noqa: PLR2004 - outputs and inputs
            continue
        for component in ("unet", "transformer"):
            modules = table.get(component, {})
            found = delta.claim.look_up(names_of("unet", modules))
            if found is None:
                continue
            own = modules[found.modules[0]][1]
            if delta.made[1] > own:
                reads = f"its {delta.claim.name} reads {delta.made[1]} channels and the base's {own}"
                return f"this LoRA is for a pipeline with a further image input (control, fill, edit): {reads}"
    return ""


def _guidance(deltas: Sequence[Delta], table: ModuleTable) -> str:
    """What a LoRA changes that a base without guidance embedding lacks."""
    changed = [delta.claim.name for delta in deltas if _GUIDANCE.search(delta.claim.name)]
    if not changed or any(map(_GUIDANCE.search, table.get("transformer", {}))):
        return ""
    return (
        "this LoRA was trained on a model with a guidance embedding, such as FLUX.1 dev, and the base has none: "
        f"{changed[0]}"
    )


def _width(modules: Iterable[tuple[str, Shape]]) -> int:
    """Width of the text that the cross-attention reads; 0 where there is none."""
    for name, shape in modules:
        if len(shape) > 1 and _CROSS.search(name):
            return shape[1]
    return 0
