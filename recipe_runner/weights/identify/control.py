"""What steers a model: ControlNets (whole, as factors, LLLite), T2I-Adapters, motion modules, hypernetworks."""

from __future__ import annotations

import re

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import SD1, SDXL
from recipe_runner.weights.families.denoiser_family import family_of
from recipe_runner.weights.families.denoisers import outline
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Match, NotMine, Verdict

_CONTROLNETS: tuple[tuple[str, str, str], ...] = (
    # pattern, layout, variety
    (r"^lllite_", "kohya", "lllite"),
    (r"^lora_controlnet$", "stability", "control-lora"),
    (r"^control_model\.|^zero_convs\.|^input_hint_block\.", "ldm", ""),
    (r"^controlnet_cond_embedding\.|^controlnet_down_blocks\.", "diffusers", ""),
    (r"^controlnet_blocks\.|^controlnet_(?:x_)?embedder|^controlnet_single_blocks\.", "diffusers", ""),
    (r"^control_(?:layers|blocks|all_x_embedder)\b", "diffusers", ""),
    (r"^(?:ctrl_|control_add_embedding|down_zero_convs|controlnet_)", "diffusers", ""),
    (r"\.ctrl_midblock\.|^base_conv_in\.|\.base_to_ctrl\.", "diffusers", "xs"),
)

_T2I_CHANNELS = {192: SD1.name, 64: SD1.name, 768: SDXL.name, 256: SDXL.name}
"""Channels that a T2I-Adapter's first convolution reads."""
_MOTION_BLOCKS = {4: SD1.name, 3: SDXL.name}
"""Down blocks that AnimateDiff's motion modules stand in."""


def look_controlnet(evidence: Evidence) -> Verdict:
    """Whether the file is a ControlNet."""
    for pattern, layout, variety in _CONTROLNETS:
        first = evidence.find(pattern)
        if first is None:
            continue
        return Match(
            kind="controlnet",
            layout="xlabs" if evidence.find(r"^double_blocks\.") and layout == "diffusers" else layout,
            family=_family(evidence),
            variety=_variety(evidence, variety),
            details=_condition(evidence),
            reason=f"{first} is a ControlNet's",
        )
    return NotMine("no tensor is a ControlNet's (controlnet_cond_embedding, control_model, controlnet_blocks)")


def _family(evidence: Evidence) -> str | None:
    """The family by the blocks that a ControlNet shares with its model."""
    modules = []
    for name, shape in evidence.shapes.items():
        plain = name.removeprefix("control_model.").removeprefix("lllite_unet_").removeprefix("lora_unet_")
        plain = plain.removeprefix("base_").removeprefix("control_")
        if ".lora" in plain or plain.endswith((".down", ".up")):
            plain = plain.rpartition(".")[0]
            if name.endswith(".up"):
                continue
        modules.append((plain.removesuffix(".weight"), shape))
    found = family_of(outline(modules))
    if found is None and evidence.find(r"_transformer_blocks_[2-9]_"):
        return SDXL.name
    return found.family.name if found is not None else None


def _variety(evidence: Evidence, variety: str) -> str:
    parts = [variety] if variety else []
    if evidence.find(r"^(?:control_add_embedding|task_embedding|controlnet_mode_embedder)\b"):
        parts.append("union")
    if evidence.find(r"motion_modules\."):
        parts.append("sparse")
    if evidence.quantisation:
        parts.append(evidence.quantisation)
    return ", ".join(parts)


def _condition(evidence: Evidence) -> dict[str, Json]:
    shape = evidence.shape(r"^(?:controlnet_cond_embedding\.conv_in|(?:control_model\.)?input_hint_block\.0)\.weight$")
    return {"condition_channels": shape[1]} if len(shape) > 1 else {}


def look_t2i_adapter(evidence: Evidence) -> Verdict:
    """Whether the file is a T2I-Adapter."""
    first = evidence.find(r"^(?:adapter\.)?body\.\d+\.(?:resnets\.\d+\.)?(?:block1|in_conv)\.weight$")
    if first is None or evidence.find(r"rdb1"):
        return NotMine("it has no T2I-Adapter's body")
    conv = evidence.shape(r"^(?:adapter\.)?conv_in\.weight$")
    family = _T2I_CHANNELS.get(conv[1] if len(conv) > 1 else 0)
    layout = "diffusers" if first.startswith("adapter.") else "original"
    return Match(kind="t2i_adapter", layout=layout, family=family, reason=f"{first} is of a T2I-Adapter's body")


def look_motion(evidence: Evidence) -> Verdict:
    """Whether the file is an AnimateDiff motion module alone."""
    first = evidence.find(r"motion_modules\.\d+\.")
    if first is None:
        return NotMine("it has no motion modules")
    if evidence.find(r"\.resnets\.|lora|^controlnet_"):
        return NotMine("its motion modules stand beside other weights")
    layout = "original" if evidence.find(r"temporal_transformer\.") else "diffusers"
    blocks = {match[1] for match in re.finditer(r"down_blocks\.(\d+)\.", evidence.text)}
    version = 2 if evidence.find(r"^(?:module\.)?mid_block\.") else 1
    return Match(
        kind="motion_adapter",
        layout=layout,
        family=_MOTION_BLOCKS.get(len(blocks)),
        details={"version": version},
        reason=f"{first} is of AnimateDiff's motion modules, in {len(blocks)} down blocks",
    )


def look_hypernetwork(evidence: Evidence) -> Verdict:
    """Whether the file is an A1111 hypernetwork."""
    first = evidence.find(r"^(?:320|640|768|1024|1280|2048)\.[01]\.(?:linear|linear1|linear2)\b")
    if first is None:
        return NotMine("it has no layers by the width of an attention (320, 640, 768, 1280)")
    widths = {match[1] for match in re.finditer(r"^(\d+)\.[01]\.linear", evidence.text, re.MULTILINE)}
    family = "sd1" if "768" in widths else "sd2" if "1024" in widths else None
    name = evidence.contents.values.get("name")
    details: dict[str, Json] = {"name": name} if isinstance(name, str) else {}
    return Match(
        kind="hypernetwork", layout="a1111", family=family, details=details,
        reason=f"{first} is of a hypernetwork's layers",
    )  # fmt: skip
