"""UNets and transformers: alone, or as the heart of a whole single-file checkpoint."""

from __future__ import annotations

import re

from recipe_runner.canonical import Json
from recipe_runner.weights.checkpoint.checkpoint import identify_checkpoint
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Match, NotMine, Verdict

_UNET = r"^(?:{prefix})(?:input_blocks\.0\.0\.weight|down_blocks\.0\.(?:resnets|attentions)\.0\.)"
_PARTS: tuple[tuple[str, str], ...] = (
    ("vae", r"^(?:first_stage_model|vae)\.(?:encoder|decoder|post_quant_conv|bn|conv)"),
    ("audio_vae", r"^audio_vae\."),
    ("text_encoder", r"^(?:cond_stage_model|conditioner\.embedders\.0|text_encoders\.(?!t5|clip_g)\w+|text_encoder)\."),
    ("text_encoder_2", r"^(?:conditioner\.embedders\.1|text_encoders\.clip_g)\."),
    ("text_encoder_3", r"^text_encoders\.t5xxl\."),
)
_TRANSFORMER = (
    r"^(?!image_proj\.)(?:[\w.]*\.)?(?:transformer_blocks|blocks|layers)\.0\.(?:attn\d?|attention|self_attention)"
    r"\.to_q\."
)
_PROJECTION = r"^(?:[\w.]*\.)?(?:proj_out|final_layer|norm_out|final_linear)\b"
_FEWEST_TENSORS = 20
_DIFFUSERS = (
    r"^(?:single_)?transformer_blocks\.|\.attn\d?\.to_q\.|\.attention\.to_q\.|attention\.to_query|^(?:down|up)_blocks\."
)
_CHANNELS = {9: "inpainting", 8: "instruct-pix2pix", 5: "depth", 7: "upscaler"}
_UNET_CHANNELS = r"(?:^|\.)(?:input_blocks\.0\.0|conv_in)\.weight$"


def look_checkpoint(evidence: Evidence) -> Verdict:
    """Whether the file is a single-file checkpoint: what denoises, and a VAE or text encoders with it."""
    parts = _parts(evidence)
    if evidence.prefix == "" and not parts:
        return NotMine("no tensor has the prefix of a checkpoint's part (model.diffusion_model, first_stage_model, …)")
    inside = _denoiser(evidence)
    if isinstance(inside, NotMine):
        return inside
    if not parts:
        return NotMine(f"it holds a {inside.kind} and neither a VAE nor a text encoder")
    checkpoint = identify_checkpoint(evidence.shapes)
    notes = list(inside.notes)
    details: dict[str, Json] = {**inside.details, "components": {inside.kind: _own(evidence), **parts}}
    if not isinstance(checkpoint, str):
        if checkpoint.missing:
            notes.append(f"it lacks {', '.join(checkpoint.missing)}")
        if checkpoint.ema:
            notes.append(f"{len(checkpoint.ema)} tensors are averaged copies (EMA)")
        if checkpoint.foreign:
            notes.append(f"{len(checkpoint.foreign)} tensors belong to no part, such as {checkpoint.foreign[0]}")
        if checkpoint.scheduler:
            details["scheduler"] = dict(checkpoint.scheduler)
    elif inside.family in ("sd1", "sd2", "sdxl", "sdxl-refiner"):
        notes.append(checkpoint)
    return Match(
        kind="checkpoint",
        layout="ldm" if inside.kind == "unet" else "comfyui" if evidence.prefix else "original",
        family=inside.family,
        variety=inside.variety,
        details=details,
        notes=tuple(notes),
        reason=f"it holds a {inside.kind}, {', '.join(parts)}; {inside.reason}",
    )


def _parts(evidence: Evidence) -> dict[str, int]:
    """How many tensors each part beside the denoiser has."""
    return {name: count for name, pattern in _PARTS if evidence.find(pattern) and (count := evidence.count(pattern))}


def _own(evidence: Evidence) -> int:
    return sum(name.startswith(evidence.prefix) for name in evidence.shapes)


def look_unet(evidence: Evidence) -> Verdict:
    """Whether the file is a UNet alone."""
    return _alone(evidence, "unet")


def look_transformer(evidence: Evidence) -> Verdict:
    """Whether the file is a diffusion transformer alone."""
    return _alone(evidence, "transformer")


def _alone(evidence: Evidence, kind: str) -> Verdict:
    found = _denoiser(evidence)
    if isinstance(found, Match) and found.kind != kind:
        return NotMine(f"what denoises in it is a {found.kind}")
    parts = _parts(evidence)
    if isinstance(found, Match) and parts:
        return NotMine(f"it holds {', '.join(parts)} beside a {found.kind}")
    return found


def _denoiser(evidence: Evidence) -> Match | NotMine:
    if reason := _other(evidence):
        return NotMine(reason)
    unet, family = _unet(evidence), evidence.family
    if unet is not None:
        told = family.reason if family is not None else f"it has a UNet's blocks ({unet}), of no family known here"
        return _match(evidence, "unet", told)
    if family is None:
        first = evidence.find(_TRANSFORMER)
        if first is None or evidence.find(_PROJECTION) is None:
            return NotMine("its names and shapes are of no denoiser known here")
        return _match(evidence, "transformer", f"it has a transformer's blocks ({first}), of no family known here")
    blockless = family.family.component == "unet" and family.family.name != "cascade"
    if blockless or len(evidence.shapes) < _FEWEST_TENSORS:
        lacks = "it has no UNet's blocks" if blockless else f"it holds {len(evidence.shapes)} tensors alone"
        return NotMine(f"{family.reason}, but {lacks}")
    return _match(evidence, family.family.component, family.reason)


def _match(evidence: Evidence, kind: str, reason: str) -> Match:
    return Match(
        kind=kind,
        layout=_layout(evidence, kind),
        family=None if evidence.family is None else evidence.family.family.name,
        variety=_variety(evidence, kind),
        details=_details(evidence),
        reason=reason,
    )


def _other(evidence: Evidence) -> str:
    """Why the file is of something else beside a model; empty when nothing speaks for that."""
    if evidence.factor is not None:
        return f"{evidence.factor} is a factor of a LoRA, not a weight"
    steering = evidence.find(
        r"^(?:control_model\.|controlnet_|control_layers\.|control_blocks\.|zero_convs\.|lora_controlnet|adapter\.body\.)"
    )
    if steering is not None:
        return f"{steering} is of a network that steers a model, not of a model"
    prefix = re.escape(evidence.prefix)
    unet = _unet(evidence)
    if unet is not None and not _whole_unet(evidence, prefix):
        return f"{unet} is of a UNet's blocks, and its time embedding and last convolution are missing"
    return ""


def _unet(evidence: Evidence) -> str | None:
    return evidence.find(_UNET.format(prefix=re.escape(evidence.prefix)))


def _whole_unet(evidence: Evidence, prefix: str) -> bool:
    return (
        evidence.find(rf"^{prefix}(?:time_embed\.0|time_embedding\.linear_1|time_proj|time_embedding)\b") is not None
        and evidence.find(rf"^{prefix}(?:out\.2|conv_out)\.weight$") is not None
    )


def _layout(evidence: Evidence, kind: str) -> str:
    if evidence.find(rf"^{re.escape(evidence.prefix)}(?:input_blocks|output_blocks)\."):
        return "ldm"
    if evidence.prefix:
        return "comfyui"
    if kind == "unet" or evidence.config:
        return "diffusers"
    return "diffusers" if evidence.find(_DIFFUSERS) else "original"


def _variety(evidence: Evidence, kind: str) -> str:
    parts = []
    channels = evidence.shape(_UNET_CHANNELS)[1:2] if kind == "unet" else ()
    if channels and channels[0] in _CHANNELS:
        parts.append(_CHANNELS[channels[0]])
    if evidence.find(r"time_embedding\.cond_proj\.weight$|time_embed_cond"):
        parts.append("lcm")
    if evidence.find(r"motion_modules\."):
        parts.append("motion")
    if evidence.find(r"(?:^|\.)vace_blocks\."):
        parts.append("vace")
    if evidence.find(r"blocks\.0\.(?:cross_attn\.k_img|attn2\.add_k_proj)\."):
        parts.append("image to video")
    if evidence.family is not None and evidence.family.family.name == "flux1":
        parts += _flux(evidence)
    if evidence.quantisation:
        parts.append(evidence.quantisation)
    return ", ".join(parts)


def _flux(evidence: Evidence) -> list[str]:
    """What FLUX.1's input says: Fill reads a picture and mask beside the latents, Control another picture."""
    entry = evidence.shape(r"(?:^|\.)(?:x_embedder|img_in)\.weight$")[1:2]
    found = [{384: "fill", 128: "control"}[entry[0]]] if entry and entry[0] in (384, 128) else []
    whole = entry and evidence.find(r"(?:^|\.)(?:time_in\.in_layer|time_text_embed\.timestep_embedder)\b")
    if whole and not evidence.find(r"(?:^|\.)(?:guidance_in\.|time_text_embed\.guidance_embedder\.)"):
        found.append("schnell (no guidance)")
    return found


def _details(evidence: Evidence) -> dict[str, Json]:
    details: dict[str, Json] = {}
    if channels := evidence.shape(_UNET_CHANNELS)[1:2]:
        details["in_channels"] = channels[0]
    if width := evidence.shape(r"attn2\.to_k\.weight$")[1:2]:
        details["cross_attention_dim"] = width[0]
    return details
