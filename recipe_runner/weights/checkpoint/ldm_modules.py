"""The modules that a single-file checkpoint's components will have once converted, from its header alone.

LDM and sgm number a UNet's blocks through; here they are counted back to diffusers' blocks, so that a LoRA can be
matched with a single-file base before anything is loaded. OpenCLIP's fused attention becomes transformers' four
projections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from recipe_runner.pipelines.family import SD1, SD2, SDXL
from recipe_runner.weights.checkpoint.original_layout import is_leftover
from recipe_runner.weights.lora.sgm_names import OUTSIDE, RESNET
from recipe_runner.weights.modules import TEXT_MODEL, Shape, component_modules, under

_INNER = {theirs: own for own, theirs in RESNET.items()}
_OUTSIDE = {theirs: own for own, theirs in OUTSIDE.items()}
_PART = re.compile(
    r"(?P<place>(?P<direction>input_blocks|output_blocks)\.(?P<block>\d+)\.(?P<part>\d+)|middle_block\.\d+)"
    r"\.(?P<module>.+)"
)
_MIDDLE = {
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
}
_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_OPEN_CLIP = {
    "attn.out_proj.weight": "self_attn.out_proj",
    "ln_1.weight": "layer_norm1",
    "ln_2.weight": "layer_norm2",
    "mlp.c_fc.weight": "mlp.fc1",
    "mlp.c_proj.weight": "mlp.fc2",
}
_OPEN_CLIP_OUTSIDE = {
    "token_embedding.weight": "embeddings.token_embedding",
    "positional_embedding": "embeddings.position_embedding",
    "ln_final.weight": "final_layer_norm",
}
_LINEAR = 2


def unet_modules(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Module names and weight shapes as in diffusers, from an original UNet's tensors without their prefix."""
    original = component_modules(shapes, "UNet2DConditionModel")
    prefixes = _prefixes(original)
    modules: dict[str, Shape] = {}
    for name, shape in original.items():
        own = _OUTSIDE.get(name) or _own_name(name, prefixes)
        if own:
            modules[own] = shape
    return modules


def _prefixes(modules: Mapping[str, Shape]) -> dict[str, str]:
    """The diffusers prefix of every numbered part: `input_blocks.4.0` to `down_blocks.1.resnets.0`."""
    parts: dict[str, dict[int, dict[int, str]]] = {"input_blocks": {}, "output_blocks": {}}
    for name in modules:
        match = _PART.fullmatch(name)
        if match is not None and match["direction"]:
            block = parts[match["direction"]].setdefault(int(match["block"]), {})
            block.setdefault(int(match["part"]), match["module"])
    return {**_MIDDLE, **dict(_down_prefixes(parts["input_blocks"])), **dict(_up_prefixes(parts["output_blocks"]))}


def _down_prefixes(blocks: Mapping[int, Mapping[int, str]]) -> Iterator[tuple[str, str]]:
    block = layer = 0
    for number in sorted(blocks):
        own = f"input_blocks.{number}"
        if blocks[number].get(0) == "op":
            yield f"{own}.0", f"down_blocks.{block}.downsamplers.0"
            block, layer = block + 1, 0
        elif number > 0:
            yield f"{own}.0", f"down_blocks.{block}.resnets.{layer}"
            yield f"{own}.1", f"down_blocks.{block}.attentions.{layer}"
            layer += 1


def _up_prefixes(blocks: Mapping[int, Mapping[int, str]]) -> Iterator[tuple[str, str]]:
    block = layer = 0
    for number in sorted(blocks):
        for part, first in blocks[number].items():
            own = f"attentions.{layer}"
            if part == 0:
                own = f"resnets.{layer}"
            elif first == "conv":
                own = "upsamplers.0"
            yield f"output_blocks.{number}.{part}", f"up_blocks.{block}.{own}"
        layer += 1
        if "conv" in blocks[number].values():
            block, layer = block + 1, 0


def _own_name(name: str, prefixes: Mapping[str, str]) -> str:
    """Diffusers' name of a module in a block; empty when it has none."""
    match = _PART.fullmatch(name)
    if match is None:
        return ""
    prefix, module = prefixes.get(match["place"]), match["module"]
    if prefix is None:
        return ""
    if ".resnets." in prefix:
        return f"{prefix}.{_INNER[module]}" if module in _INNER else ""
    return f"{prefix}.conv" if module == "op" else f"{prefix}.{module}"


def open_clip_modules(shapes: Mapping[str, Shape], prefix: str) -> dict[str, Shape]:
    """Module names and weight shapes as in transformers, from an OpenCLIP text model's tensors without their prefix.

    `prefix` is that of the names in memory: `text_model.` for a model with projection, else empty.
    """
    modules: dict[str, Shape] = {}
    for name, shape in shapes.items():
        layer = _LAYER.fullmatch(name)
        if layer is not None:
            modules.update(_layer_modules(f"{prefix}encoder.layers.{layer[1]}", layer[2], shape))
        elif name in _OPEN_CLIP_OUTSIDE:
            modules[prefix + _OPEN_CLIP_OUTSIDE[name]] = shape
        elif name == "text_projection" and prefix:
            modules["text_projection"] = (shape[1], shape[0])
    return modules


def _layer_modules(layer: str, parameter: str, shape: Shape) -> dict[str, Shape]:
    """The modules that one parameter of an OpenCLIP layer is for; none for a bias."""
    if parameter == "attn.in_proj_weight" and len(shape) == _LINEAR:
        projections = [f"{layer}.self_attn.{letter}_proj" for letter in "qkv"]
        return dict.fromkeys(projections, (shape[0] // 3, shape[1]))
    if parameter not in _OPEN_CLIP:
        return {}
    return {f"{layer}.{_OPEN_CLIP[parameter]}": shape}


def checkpoint_modules(family: str, shapes: Mapping[str, Shape]) -> dict[str, dict[str, Shape]] | None:
    """The module table of a whole SD 1.x, SD 2.x or SDXL checkpoint (`Checkpoint.family`); None for others."""
    unet = under("model.diffusion_model.", shapes)
    if family == SD1.name:
        text = component_modules(under("cond_stage_model.transformer.", shapes), "CLIPTextModel")
        return {"unet": unet_modules(unet), "text_encoder": text}
    if family == SD2.name:
        text = open_clip_modules(under("cond_stage_model.model.", shapes), "")
        # Stable Diffusion 2 stops one layer early: diffusers' encoder has no last layer, nor have all files.
        kept = {name: shape for name, shape in text.items() if not name.startswith("encoder.layers.23.")}
        return {"unet": unet_modules(unet), "text_encoder": kept}
    if family == SDXL.name:
        first = component_modules(under("conditioner.embedders.0.transformer.", shapes), "CLIPTextModel")
        second = open_clip_modules(under("conditioner.embedders.1.model.", shapes), TEXT_MODEL)
        return {"unet": unet_modules(unet), "text_encoder": first, "text_encoder_2": second}
    return None


def part_modules(name: str, class_name: str | None, shapes: Mapping[str, Shape]) -> dict[str, Shape] | None:
    """The modules of the part `name` (of class `class_name`) in a single file; None for an unknown layout."""
    if name == "unet":
        own = under("model.diffusion_model.", shapes) or shapes
        if "input_blocks.0.0.weight" in own:
            return unet_modules(own)
        return component_modules(own, class_name)
    if class_name not in ("CLIPTextModel", "CLIPTextModelWithProjection"):
        return None
    projected = class_name == "CLIPTextModelWithProjection"
    if "positional_embedding" in shapes:
        return open_clip_modules(shapes, TEXT_MODEL if projected else "")
    if f"{TEXT_MODEL}embeddings.token_embedding.weight" not in shapes:
        return None
    if not projected:
        shapes = {key: shape for key, shape in shapes.items() if not is_leftover(key)}
    return component_modules(shapes, class_name)
