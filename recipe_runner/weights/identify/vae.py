"""Identify VAEs and other autoencoders."""

from __future__ import annotations

from recipe_runner.canonical import Json
from recipe_runner.pipelines.component_classes import family_of_class
from recipe_runner.pipelines.family import family_of_vae_scaling
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Match, NotMine, Verdict

_PREFIXES = r"^(?:first_stage_model\.|vae\.)?"
_TABLE: tuple[tuple[str, str, str, str | None], ...] = (
    # pattern, layout, variety, family if the architecture identifies it
    (r"per_channel_statistics\.", "original", "LTX video", "ltx"),
    (r"(?:encoder|decoder)\.(?:stages|project_in|project_out)\.", "original", "deep compression (DC-AE)", "sana"),
    (r"encoder\.down_blocks\.0\.0\.conv1\.weight$", "diffusers", "deep compression (DC-AE)", "sana"),
    (r"decoder\.middle\.0\.residual\.0\.gamma$", "original", "Wan video", None),
    (r"decoder\.mid_block\.resnets\.0\.norm1\.gamma$", "diffusers", "Wan video", None),
    (r"decoder\.(?:time_conv_out|up_blocks\.0\.resnets\.0\.spatial_res_block)", "diffusers", "temporal decoder", "svd"),
    (r"decoder\.up\.\d\.block\.0\.time_stack|time_mix_conv", "ldm", "temporal decoder", "svd"),
    (r"encoder\.conv_in\.conv\.weight$", "diffusers", "video", None),
    (r"encoder\.down\.0\.block\.0\.conv1\.conv\.weight$", "original", "video", None),
    (r"quantize\.embedding\.weight$", "diffusers", "vector quantised", None),
    (r"decoder\.up_blocks\.0\.resnets\.0\.conv1\.weight$", "diffusers", "", None),
    (r"decoder\.up\.\d\.block\.0\.conv1\.weight$", "ldm", "", None),
    (r"decoder\.layers\.\d+\.(?:conv|weight)|encoder\.layers\.\d+\.conv\.", "diffusers", "tiny (TAESD)", None),
    (r"(?:1|2|3)\.conv\.0\.weight$", "taesd", "tiny (TAESD)", None),
)
_FLUX2_LATENTS = 32
_SHARED = {4: "SD 1.x, SD 2.x and SDXL", 16: "SD 3 and FLUX.1"}
"""Families whose VAEs have the same shapes, by latent channels."""


def look(evidence: Evidence) -> Verdict:
    """Whether the file contains only an autoencoder."""
    if evidence.prefix:
        return NotMine("it contains a denoiser")
    for pattern, layout, variety, family in _TABLE:
        if evidence.find(_PREFIXES + pattern) is None:
            continue
        if evidence.find(r"^(?:down_blocks|text_model|vision_model|conv_first|controlnet_)\b|^model\.layers\.0"):
            return NotMine("it contains more than an encoder and a decoder")
        return _match(evidence, layout, variety, family)
    if evidence.find(r"^(?:encoder|decoder)\.(?:conv_in|conv_out|down|up)"):
        return NotMine("it has parts of an encoder or decoder of an unknown architecture")
    return NotMine("it has no encoder or decoder blocks")


def _match(evidence: Evidence, layout: str, variety: str, family: str | None) -> Match:
    channels = evidence.channels(_PREFIXES + r"decoder\.(?:conv_in(?:\.conv)?|conv1|layers\.0)\.weight$")
    family = family or _family(evidence, channels)
    halves = [half for half in ("encoder", "decoder") if evidence.find(rf"{_PREFIXES}{half}\.")]
    details: dict[str, Json] = {"halves": list[Json](halves) or ["decoder"]}
    reason = f"it has the blocks of a {variety or 'KL'} autoencoder"
    if channels:
        details["latent_channels"] = channels
        reason += f" with {channels} latent channels"
    notes = []
    if family is None and not variety and channels in _SHARED:
        notes.append(f"VAEs with {channels} latent channels have the same shapes in {_SHARED[channels]}")
    return Match(
        kind="vae",
        layout=layout,
        family=family,
        variety=variety,
        details=details,
        notes=tuple(notes),
        reason=reason,
    )


def _family(evidence: Evidence, channels: int) -> str | None:
    """The family, from the class, the statistics of the latents or the scaling factor."""
    family = family_of_class(str(evidence.config.get("_class_name")))
    if family is not None:
        return family
    if channels == _FLUX2_LATENTS and evidence.find(r"^(?:vae\.)?bn\.running_mean$"):
        return "flux2"
    scaling = evidence.config.get("scaling_factor")
    if not isinstance(scaling, float):
        return None
    published = family_of_vae_scaling(scaling)
    return None if published is None else published.name
