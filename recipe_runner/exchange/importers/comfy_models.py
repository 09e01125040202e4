"""The checkpoint, LoRAs and VAE of a ComfyUI graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.comfy_graph import ComfyNode
from recipe_runner.exchange.importers.comfy_walk import ComfyWalk
from recipe_runner.exchange.importers.foreign_json import first_of, first_text, float_or, mapping, text_of
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignModel

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_CHECKPOINTS = ("ckpt_name", "unet_name", "model_name", "base_ckpt_name")
_MODEL_STRENGTHS = ("strength_model", "lora_model_strength", "strength")
_CLIP_STRENGTHS = ("strength_clip", "lora_clip_strength", "strengthTwo")
_STACKED_NAMES = ("lora_name_{}", "lora_{}_name")
_STACKED_STRENGTHS = ("model_weight_{}", "model_str_{}", "lora_wt_{}", "lora_{}_strength")
_MOST_STACKED = 50


def comfy_models(walk: ComfyWalk, sampler: ComfyNode) -> tuple[list[ForeignAdapter], ForeignModel | None]:
    """The adapters from the checkpoint on, and the checkpoint; None when the graph names none."""
    adapters: list[ForeignAdapter] = []
    link = sampler.inputs.get("model")
    guider = walk.source(sampler.inputs.get("guider"))
    if not link and guider is not None:
        link = guider.inputs.get("model")
    for node in walk.chain(link, "model"):
        loras = _loras(node)
        adapters[:0] = loras
        name = first_text(node.inputs, *_CHECKPOINTS)
        if name is not None:
            return adapters, ForeignModel(name=name)
        if not loras and "model" in node.inputs:
            walk.lose(node, "the model passes through")
    return adapters, None


def comfy_vae(walk: ComfyWalk, sampler: ComfyNode) -> ForeignModel | None:
    """The VAE file that decodes what the sampler made; None for the checkpoint's own."""
    decoder = _decoder(walk, sampler)
    if decoder is None:
        return None
    walk.used.add(decoder.key)
    loader = walk.source(decoder.inputs["vae"], "vae")
    if loader is None:
        return None
    name = text_of(loader.inputs.get("vae_name"))
    if name is None:
        return None
    walk.used.add(loader.key)
    return ForeignModel(name=name)


def _decoder(walk: ComfyWalk, sampler: ComfyNode) -> ComfyNode | None:
    decoders = [node for node in walk.graph.values() if "vae" in node.inputs and "samples" in node.inputs]
    for node in decoders:
        if walk.source(node.inputs["samples"]) is sampler or len(decoders) == 1:
            return node
    return None


def _loras(node: ComfyNode) -> list[ForeignAdapter]:
    """The LoRAs that one node applies, without those that it has switched off."""
    found = []
    for entry in _lora_entries(node.inputs):
        name = text_of(entry.get("lora"))
        if name is None or name == "None" or entry.get("on") is False:
            continue
        options: dict[str, str] = {}
        model = float_or(1.0, first_of(entry, *_MODEL_STRENGTHS))
        text = float_or(model, first_of(entry, *_CLIP_STRENGTHS))
        scale: Json = model
        if node.kind == "LoraLoaderModelOnly":
            options["target"] = "unet"
        elif text != model:
            scale = {"unet": model, "text_encoder": text}
        found.append(ForeignAdapter(kind="lora", model=ForeignModel(name=name, options=options), scale=scale))
    return found


def _lora_entries(inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of a node as `{lora, on, strength}`: one LoRA, objects, or names and strengths by number."""
    entries: list[Mapping[str, Any]]
    if "lora_name" in inputs:
        entries = [{**inputs, "lora": inputs["lora_name"]}]
    else:
        entries = [dict(value) for value in inputs.values() if "lora" in mapping(value)]
    for number in range(1, _MOST_STACKED + 1):
        name = _numbered(inputs, _STACKED_NAMES, number)
        if name is not None and inputs.get(f"switch_{number}", "On") not in ("Off", False):
            entries.append({"lora": name, "strength": _numbered(inputs, _STACKED_STRENGTHS, number)})
    return entries


def _numbered(inputs: Mapping[str, Any], patterns: tuple[str, ...], number: int) -> Any:
    return first_of(inputs, *(pattern.format(number) for pattern in patterns))
