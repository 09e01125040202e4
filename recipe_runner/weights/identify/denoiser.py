"""Identify UNets and transformers: alone, or in a single-file checkpoint."""

from __future__ import annotations

import re

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import FLUX1
from recipe_runner.weights.checkpoint.checkpoint import Checkpoint, identify_checkpoint
from recipe_runner.weights.families.denoiser_family import family_name
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
_FLUX_CHANNELS = {384: "fill", 128: "control"}
_VARIETIES = (
    ("lcm", r"time_embedding\.cond_proj\.weight$|time_embed_cond"),
    ("motion", r"motion_modules\."),
    ("vace", r"(?:^|\.)vace_blocks\."),
    ("image to video", r"blocks\.0\.(?:cross_attn\.k_img|attn2\.add_k_proj)\."),
)
_UNET_CHANNELS = r"(?:^|\.)(?:input_blocks\.0\.0|conv_in)\.weight$"


def look_checkpoint(evidence: Evidence) -> Verdict:
    """Whether the file is a single-file checkpoint: a denoiser with a VAE or text encoders."""
    parts = _parts(evidence)
    if evidence.prefix == "" and not parts:
        return NotMine("no tensor has the prefix of a checkpoint's part (model.diffusion_model, first_stage_model, …)")
    inside = _denoiser(evidence)
    if isinstance(inside, NotMine):
        return inside
    if not parts:
        return NotMine(f"it contains a {inside.kind}, but neither a VAE nor a text encoder")
    own = sum(name.startswith(evidence.prefix) for name in evidence.shapes)
    notes = list(inside.notes)
    details: dict[str, Json] = {**inside.details, "components": {inside.kind: own, **parts}}
    checkpoint = identify_checkpoint(evidence.shapes)
    if not isinstance(checkpoint, str):
        notes += _notes(checkpoint)
        if checkpoint.scheduler:
            details["scheduler"] = dict(checkpoint.scheduler)
    elif inside.family in ("sd1", "sd2", "sdxl", "sdxl-refiner"):
        notes.append(checkpoint)
    return Match(
        kind="checkpoint",
        layout=_checkpoint_layout(evidence, inside.kind),
        family=inside.family,
        variety=inside.variety,
        details=details,
        notes=tuple(notes),
        reason=f"it contains a {inside.kind}, {', '.join(parts)}; {inside.reason}",
    )


def _notes(checkpoint: Checkpoint) -> list[str]:
    notes = []
    if checkpoint.missing:
        notes.append(f"it lacks {', '.join(checkpoint.missing)}")
    if checkpoint.ema:
        notes.append(f"{len(checkpoint.ema)} tensors are averaged copies (EMA)")
    if checkpoint.foreign:
        notes.append(f"{len(checkpoint.foreign)} tensors belong to no component, such as {checkpoint.foreign[0]}")
    return notes


def _checkpoint_layout(evidence: Evidence, kind: str) -> str:
    if kind == "unet":
        return "ldm"
    return "comfyui" if evidence.prefix else "original"


def _parts(evidence: Evidence) -> dict[str, int]:
    """The number of tensors of each component beside the denoiser."""
    counts: dict[str, int] = {}
    for name, pattern in _PARTS:
        if evidence.find(pattern):
            counts[name] = evidence.count(pattern)
    return counts


def look_unet(evidence: Evidence) -> Verdict:
    """Whether the file contains only a UNet."""
    return _alone(evidence, "unet")


def look_transformer(evidence: Evidence) -> Verdict:
    """Whether the file contains only a diffusion transformer."""
    return _alone(evidence, "transformer")


def _alone(evidence: Evidence, kind: str) -> Verdict:
    found = _denoiser(evidence)
    if isinstance(found, NotMine):
        return found
    if found.kind != kind:
        return NotMine(f"its denoiser is a {found.kind}")
    parts = _parts(evidence)
    if parts:
        return NotMine(f"it contains {', '.join(parts)} beside a {found.kind}")
    return found


def _denoiser(evidence: Evidence) -> Match | NotMine:
    other = _other(evidence)
    if other:
        return NotMine(other)
    unet = _unet(evidence)
    if evidence.family is None:
        return _of_no_family(evidence, unet)
    family, reason = evidence.family.family, evidence.family.reason
    if unet is not None:
        return _match(evidence, "unet", reason)
    if family.component == "unet" and family.name != "cascade":
        return NotMine(f"{reason}, but it has no UNet blocks")
    if len(evidence.shapes) < _FEWEST_TENSORS:
        return NotMine(f"{reason}, but it contains only {len(evidence.shapes)} tensors")
    return _match(evidence, family.component, reason)


def _of_no_family(evidence: Evidence, unet: str | None) -> Match | NotMine:
    """A denoiser whose family is unknown, from the names of its blocks."""
    if unet is not None:
        return _match(evidence, "unet", f"it has UNet blocks ({unet}) of an unknown family")
    first = evidence.find(_TRANSFORMER)
    if first is None or evidence.find(_PROJECTION) is None:
        return NotMine("its names and shapes match no known denoiser")
    return _match(evidence, "transformer", f"it has transformer blocks ({first}) of an unknown family")


def _match(evidence: Evidence, kind: str, reason: str) -> Match:
    return Match(
        kind=kind,
        layout=_layout(evidence, kind),
        family=family_name(evidence.family),
        variety=_variety(evidence, kind),
        details=_details(evidence),
        reason=reason,
    )


def _other(evidence: Evidence) -> str:
    """Why the file is something other than a model; empty when nothing suggests that."""
    if evidence.factor is not None:
        return f"{evidence.factor} is a LoRA factor, not a full weight"
    steering = evidence.find(
        r"^(?:control_model\.|controlnet_|control_layers\.|control_blocks\.|zero_convs\.|lora_controlnet|adapter\.body\.)"
    )
    if steering is not None:
        return f"{steering} belongs to a network that steers a model, not to a model"
    unet = _unet(evidence)
    if unet is not None and not _whole_unet(evidence, re.escape(evidence.prefix)):
        return f"{unet} belongs to UNet blocks, but the time embedding or the last convolution is missing"
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
    if kind == "unet":
        parts.append(_CHANNELS.get(evidence.channels(_UNET_CHANNELS), ""))
    parts += [name for name, pattern in _VARIETIES if evidence.find(pattern)]
    if family_name(evidence.family) == FLUX1.name:
        parts += _flux(evidence)
    parts.append(evidence.quantisation)
    return ", ".join(filter(None, parts))


def _flux(evidence: Evidence) -> list[str]:
    """The varieties of FLUX.1: Fill also reads an image and a mask, Control another image, schnell no guidance."""
    channels = evidence.channels(r"(?:^|\.)(?:x_embedder|img_in)\.weight$")
    if not channels:
        return []
    found = [_FLUX_CHANNELS[channels]] if channels in _FLUX_CHANNELS else []
    whole = evidence.find(r"(?:^|\.)(?:time_in\.in_layer|time_text_embed\.timestep_embedder)\b")
    if whole and not evidence.find(r"(?:^|\.)(?:guidance_in\.|time_text_embed\.guidance_embedder\.)"):
        found.append("schnell (no guidance)")
    return found


def _details(evidence: Evidence) -> dict[str, Json]:
    details: dict[str, Json] = {
        "in_channels": evidence.channels(_UNET_CHANNELS),
        "cross_attention_dim": evidence.channels(r"attn2\.to_k\.weight$"),
    }
    return {name: value for name, value in details.items() if value}
