"""VAEs and other autoencoders."""

from __future__ import annotations

from recipe_runner.canonical import Json
from recipe_runner.pipelines.component_classes import family_of_class
from recipe_runner.pipelines.family import family_of_vae_scaling
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Match, NotMine, Verdict

_PREFIXES = r"^(?:first_stage_model\.|vae\.)?"
_TABLE: tuple[tuple[str, str, str, str | None], ...] = (
    # pattern, layout, variety, family where the architecture tells it
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


def look(evidence: Evidence) -> Verdict:
    """Whether the file is an autoencoder and nothing else."""
    if evidence.prefix:
        return NotMine("it holds what denoises")
    for pattern, layout, variety, family in _TABLE:
        if evidence.find(_PREFIXES + pattern) is None:
            continue
        if evidence.find(r"^(?:down_blocks|text_model|vision_model|conv_first|controlnet_)\b|^model\.layers\.0"):
            return NotMine("it holds more than an encoder and a decoder")
        return _match(evidence, layout, variety, family)
    if evidence.find(r"^(?:encoder|decoder)\.(?:conv_in|conv_out|down|up)"):
        return NotMine("it has parts of an encoder or decoder, of no architecture known here")
    return NotMine("it has no encoder's and decoder's blocks")


def _match(evidence: Evidence, layout: str, variety: str, family: str | None) -> Match:
    latent = _latent_channels(evidence)
    config = evidence.config
    if family is None:
        family = family_of_class(str(config.get("_class_name")))
    if family is None and latent == _FLUX2_LATENTS and evidence.find(r"^(?:vae\.)?bn\.running_mean$"):
        family = "flux2"
    scaling = config.get("scaling_factor")
    if family is None and isinstance(scaling, float):
        published = family_of_vae_scaling(scaling)
        family = published.name if published is not None else None
    halves = [half for half in ("encoder", "decoder") if evidence.find(rf"{_PREFIXES}{half}\.")]
    details: dict[str, Json] = {"halves": list[Json](halves) or ["decoder"]}
    if latent:
        details["latent_channels"] = latent
    notes = []
    if family is None and not variety:
        shared = {4: "SD 1.x, SD 2.x and SDXL", 16: "SD 3 and FLUX.1"}.get(latent or 0)
        if shared:
            notes.append(f"a VAE with {latent} latent channels: {shared} have this shape")
    return Match(
        kind="vae",
        layout=layout,
        family=family,
        variety=variety,
        details=details,
        notes=tuple(notes),
        reason=f"it has the blocks of a {variety or 'KL'} autoencoder"
        + (f" with {latent} latent channels" if latent else ""),
    )


def _latent_channels(evidence: Evidence) -> int | None:
    shape = evidence.shape(_PREFIXES + r"decoder\.(?:conv_in(?:\.conv)?|conv1|layers\.0)\.weight$")
    return shape[1] if len(shape) > 1 else None
