"""Identify networks that steer a model: ControlNets, T2I-Adapters, motion modules and hypernetworks.

ControlNets are stored whole, as factors (Control-LoRA), or as LLLite.
"""

from __future__ import annotations

import re

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import SD1, SD2, SDXL
from recipe_runner.weights.families.denoiser_family import family_name, family_of
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
"""Family by the input channels of a T2I-Adapter's first convolution."""
_MOTION_BLOCKS = {4: SD1.name, 3: SDXL.name}
"""Family by the number of down blocks that have AnimateDiff's motion modules."""


def look_controlnet(evidence: Evidence) -> Verdict:
    """Whether the file is a ControlNet."""
    for pattern, layout, variety in _CONTROLNETS:
        first = evidence.find(pattern)
        if first is None:
            continue
        is_xlabs = layout == "diffusers" and evidence.find(r"^double_blocks\.") is not None
        return Match(
            kind="controlnet",
            layout="xlabs" if is_xlabs else layout,
            family=_family(evidence),
            variety=_variety(evidence, variety),
            details=_condition(evidence),
            reason=f"{first} is the name of a ControlNet tensor",
        )
    return NotMine("no tensor has the name of a ControlNet tensor (controlnet_cond_embedding, control_model, …)")


def _family(evidence: Evidence) -> str | None:
    """The family, from the blocks that a ControlNet has in common with its model."""
    modules = []
    for name, shape in evidence.shapes.items():
        module = _model_module(name)
        if module is not None:
            modules.append((module, shape))
    found = family_of(outline(modules))
    if found is None and evidence.find(r"_transformer_blocks_[2-9]_"):
        return SDXL.name
    return family_name(found)


def _model_module(name: str) -> str | None:
    """The module of the model that a tensor corresponds to; None for the second factor of a pair."""
    for prefix in ("control_model.", "lllite_unet_", "lora_unet_", "base_", "control_"):
        name = name.removeprefix(prefix)
    is_factor = ".lora" in name or name.endswith((".down", ".up"))
    if is_factor and name.endswith(".up"):
        return None
    if is_factor:
        name = name.rpartition(".")[0]
    return name.removesuffix(".weight")


def _variety(evidence: Evidence, variety: str) -> str:
    parts = [variety]
    if evidence.find(r"^(?:control_add_embedding|task_embedding|controlnet_mode_embedder)\b"):
        parts.append("union")
    if evidence.find(r"motion_modules\."):
        parts.append("sparse")
    parts.append(evidence.quantisation)
    return ", ".join(filter(None, parts))


def _condition(evidence: Evidence) -> dict[str, Json]:
    shape = evidence.shape(r"^(?:controlnet_cond_embedding\.conv_in|(?:control_model\.)?input_hint_block\.0)\.weight$")
    if len(shape) < 2:  # noqa: PLR2004
        return {}
    return {"condition_channels": shape[1]}


def look_t2i_adapter(evidence: Evidence) -> Verdict:
    """Whether the file is a T2I-Adapter."""
    first = evidence.find(r"^(?:adapter\.)?body\.\d+\.(?:resnets\.\d+\.)?(?:block1|in_conv)\.weight$")
    if first is None or evidence.find(r"rdb1"):
        return NotMine("it has no T2I-Adapter body")
    channels = evidence.channels(r"^(?:adapter\.)?conv_in\.weight$")
    return Match(
        kind="t2i_adapter",
        layout="diffusers" if first.startswith("adapter.") else "original",
        family=_T2I_CHANNELS.get(channels),
        reason=f"{first} belongs to the body of a T2I-Adapter",
    )


def look_motion(evidence: Evidence) -> Verdict:
    """Whether the file contains only AnimateDiff motion modules."""
    first = evidence.find(r"motion_modules\.\d+\.")
    if first is None:
        return NotMine("it has no motion modules")
    if evidence.find(r"\.resnets\.|lora|^controlnet_"):
        return NotMine("it contains other weights beside motion modules")
    layout = "original" if evidence.find(r"temporal_transformer\.") else "diffusers"
    blocks = {match[1] for match in re.finditer(r"down_blocks\.(\d+)\.", evidence.text)}
    version = 2 if evidence.find(r"^(?:module\.)?mid_block\.") else 1
    return Match(
        kind="motion_adapter",
        layout=layout,
        family=_MOTION_BLOCKS.get(len(blocks)),
        details={"version": version},
        reason=f"{first} belongs to AnimateDiff motion modules, in {len(blocks)} down blocks",
    )


def look_hypernetwork(evidence: Evidence) -> Verdict:
    """Whether the file is an A1111 hypernetwork."""
    first = evidence.find(r"^(?:320|640|768|1024|1280|2048)\.[01]\.(?:linear|linear1|linear2)\b")
    if first is None:
        return NotMine("it has no layers that are named by the width of an attention (320, 640, 768, 1280)")
    widths = {match[1] for match in re.finditer(r"^(\d+)\.[01]\.linear", evidence.text, re.MULTILINE)}
    details: dict[str, Json] = {}
    name = evidence.contents.values.get("name")
    if isinstance(name, str):
        details["name"] = name
    return Match(
        kind="hypernetwork",
        layout="a1111",
        family=_family_of_widths(widths),
        details=details,
        reason=f"{first} belongs to the layers of a hypernetwork",
    )


def _family_of_widths(widths: set[str]) -> str | None:
    for model in (SD1, SD2):
        if str(model.text_width) in widths:
            return model.name
    return None
