"""The modules that a single-file checkpoint's components will have once converted, from its header alone.

LDM and sgm number a UNet's blocks through; here they are counted back to diffusers' blocks, so that a LoRA can be laid
out on a single-file base before anything is loaded. OpenCLIP's fused attention becomes transformers' four projections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from recipe_runner.pipelines.family import SD1, SD2, SDXL
from recipe_runner.weights.checkpoint.original_layout import is_leftover
from recipe_runner.weights.lora.sgm_names import OUTSIDE, RESNET
from recipe_runner.weights.modules import TEXT_MODEL, Shape, component_modules

_INNER = {theirs: own for own, theirs in RESNET.items()}
_OUTSIDE = {theirs: own for own, theirs in OUTSIDE.items()}
_BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks)\.(\d+)\.(.+)")
_PART = re.compile(r"(\d+)\.(.+)")
_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_MIDDLE = {0: "mid_block.resnets.0.", 1: "mid_block.attentions.0.", 2: "mid_block.resnets.1."}
_OPEN_CLIP = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OPEN_CLIP_OUTSIDE = {"token_embedding": "embeddings.token_embedding", "ln_final": "final_layer_norm"}
_LINEAR = 2


def unet_modules(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Module names and weight shapes as in diffusers, from an original UNet's tensors without their prefix."""
    modules = component_modules(shapes, "UNet2DConditionModel")
    places = dict(_places(modules))
    return {own: shape for name, shape in modules.items() if (own := _own_name(name, places)) is not None}


def _places(modules: Mapping[str, Shape]) -> Iterator[tuple[tuple[str, int, int], str]]:
    """The diffusers prefix of every numbered part: (direction, number, part) to `down_blocks.1.resnets.0.`."""
    parts: dict[tuple[str, int], dict[int, str]] = {}
    for name in modules:
        if (match := _BLOCK.fullmatch(name)) and (part := _PART.fullmatch(match[3])):
            parts.setdefault((match[1], int(match[2])), {}).setdefault(int(part[1]), part[2])
    block = layer = 0
    for number in sorted(number for direction, number in parts if direction == "input_blocks" and number > 0):
        found = parts["input_blocks", number]
        if found[0] == "op":
            yield ("input_blocks", number, 0), f"down_blocks.{block}.downsamplers.0."
            block, layer = block + 1, 0
            continue
        yield ("input_blocks", number, 0), f"down_blocks.{block}.resnets.{layer}."
        yield ("input_blocks", number, 1), f"down_blocks.{block}.attentions.{layer}."
        layer += 1
    block = layer = 0
    for number in sorted(number for direction, number in parts if direction == "output_blocks"):
        for place, first in parts["output_blocks", number].items():
            kind = "resnets" if place == 0 else "upsamplers" if first == "conv" else "attentions"
            own = f"up_blocks.{block}.{kind}.{0 if kind == 'upsamplers' else layer}."
            yield ("output_blocks", number, place), own
        layer += 1
        if "conv" in parts["output_blocks", number].values():
            block, layer = block + 1, 0


def _own_name(name: str, places: Mapping[tuple[str, int, int], str]) -> str | None:
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    match = _BLOCK.fullmatch(name)
    if match is None:
        return None
    if match[1] == "middle_block":
        prefix, rest = _MIDDLE.get(int(match[2])), match[3]
    else:
        part = _PART.fullmatch(match[3])
        if part is None:
            return None
        prefix, rest = places.get((match[1], int(match[2]), int(part[1]))), part[2]
    if prefix is None:
        return None
    if ".resnets." in prefix:
        return f"{prefix}{_INNER[rest]}" if rest in _INNER else None
    return f"{prefix}conv" if rest == "op" else f"{prefix}{rest}"


def open_clip_modules(shapes: Mapping[str, Shape], prefix: str) -> dict[str, Shape]:
    """Module names and weight shapes as in transformers, from an OpenCLIP text model's tensors without their prefix.

    `prefix` is what the names have in memory: `text_model.` for a model with projection, else nothing.
    """
    modules: dict[str, Shape] = {}
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        if match := _LAYER.fullmatch(name):
            layer, rest = f"{prefix}encoder.layers.{match[1]}.", match[2]
            if rest == "attn.in_proj_weight" and len(shape) == _LINEAR:
                third = (shape[0] // 3, shape[1])
                modules.update({f"{layer}self_attn.{which}_proj": third for which in "qkv"})
            elif rest.removesuffix(".weight") in _OPEN_CLIP and rest.endswith(".weight"):
                modules[layer + _OPEN_CLIP[rest.removesuffix(".weight")]] = shape
        elif module in _OPEN_CLIP_OUTSIDE and name.endswith(".weight"):
            modules[prefix + _OPEN_CLIP_OUTSIDE[module]] = shape
        elif name == "positional_embedding":
            modules[f"{prefix}embeddings.position_embedding"] = shape
        elif name == "text_projection" and prefix:
            modules["text_projection"] = (shape[1], shape[0])
    return modules


def checkpoint_modules(family: str, shapes: Mapping[str, Shape]) -> dict[str, dict[str, Shape]] | None:
    """The module table of a whole SD 1.x, SD 2.x or SDXL checkpoint (`Checkpoint.family`); None for others."""
    unet = _under(shapes, "model.diffusion_model.")
    if family == SD1.name:
        text = component_modules(_under(shapes, "cond_stage_model.transformer."), "CLIPTextModel")
        return {"unet": unet_modules(unet), "text_encoder": text}
    if family == SD2.name:
        text = open_clip_modules(_under(shapes, "cond_stage_model.model."), "")
        # Stable Diffusion 2 stops one layer early: diffusers' encoder has no last layer, nor have all files.
        kept = {name: shape for name, shape in text.items() if not name.startswith("encoder.layers.23.")}
        return {"unet": unet_modules(unet), "text_encoder": kept}
    if family == SDXL.name:
        first = component_modules(_under(shapes, "conditioner.embedders.0.transformer."), "CLIPTextModel")
        second = open_clip_modules(_under(shapes, "conditioner.embedders.1.model."), "text_model.")
        return {"unet": unet_modules(unet), "text_encoder": first, "text_encoder_2": second}
    return None


def part_modules(name: str, class_name: str | None, shapes: Mapping[str, Shape]) -> dict[str, Shape] | None:
    """The modules of the part `name` (of class `class_name`) in a single file; None for a layout not known here."""
    if name == "unet":
        own = _under(shapes, "model.diffusion_model.") or shapes
        return unet_modules(own) if "input_blocks.0.0.weight" in own else component_modules(own, class_name)
    projected = class_name == "CLIPTextModelWithProjection"
    if projected or class_name == "CLIPTextModel":
        if "positional_embedding" in shapes:
            return open_clip_modules(shapes, TEXT_MODEL if projected else "")
        if not projected:
            shapes = {key: shape for key, shape in shapes.items() if not is_leftover(key)}
        if f"{TEXT_MODEL}embeddings.token_embedding.weight" in shapes:
            return component_modules(shapes, class_name)
    return None


def _under(shapes: Mapping[str, Shape], prefix: str) -> dict[str, Shape]:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
