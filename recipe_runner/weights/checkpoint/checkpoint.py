"""What a single-file base checkpoint is, from the names and shapes of its tensors: family, components, missing ones.

Names are those of the original code (LDM, sgm, Black Forest Labs, Stability), which single files keep. Sources:
diffusers `loaders/single_file_utils.py` (`CHECKPOINT_KEY_NAMES`), ComfyUI `comfy/supported_models.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from recipe_runner.canonical import Json
from recipe_runner.weights.checkpoint.original_layout import is_leftover
from recipe_runner.weights.families.checkpoint_families import FAMILIES, UNET, Family
from recipe_runner.weights.modules import Shape

_EMA = "model_ema."
_EMA_STATE = ("model_ema.decay", "model_ema.num_updates")
_OTHER_SAMPLING = {
    "edm_mean": "it is Playground v2.5, whose latents have their own mean and deviation",
    "edm_vpred.sigma_max": "it is sampled with EDM's noise levels, like CosXL",
}
"""Marker tensors of files that need another scheduler than the family's usual one."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A single-file base.

    Attributes:
        family: sd1, sd2, sdxl, sd3, flux1, …
        pipeline: the diffusers class that makes images from text with it.
        config: the configuration of this package that it needs (`sources.bundled`); None: the recipe must name one.
        components: component to the prefixes of its tensors' names, for those that the file holds.
        missing: components of the pipeline with weights that the file does not hold.
        ema: keys of averaged copies of the denoiser, which are not loaded.
        benign: keys of buffers that no component needs.
        foreign: all other keys.
        scheduler: scheduler settings that the file states with marker tensors (`v_pred`, `ztsnr`).
        note: a sentence on what the file needs beyond its family; or empty.
    """

    family: str
    pipeline: str
    config: str | None
    components: Mapping[str, tuple[str, ...]]
    missing: tuple[str, ...] = ()
    ema: tuple[str, ...] = ()
    benign: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    scheduler: Mapping[str, Json] = field(default_factory=dict)
    note: str = ""


def identify_checkpoint(shapes: Mapping[str, Shape]) -> Checkpoint | str:
    """The checkpoint that these tensors are, or the reason why they make no images from text."""
    for family in FAMILIES:
        found = family.recognise(shapes)
        if found is not None:
            return found or _checkpoint(family, shapes)
    return _what_else(shapes)


def _checkpoint(family: Family, shapes: Mapping[str, Shape]) -> Checkpoint:
    parts: dict[str, dict[str, None]] = {}
    ema, benign, foreign = [], [], []
    for key in shapes:
        component, prefix = family.component_of(key)
        if key.startswith(_EMA) and key not in _EMA_STATE:
            ema.append(key)
        elif is_leftover(key):
            benign.append(key)
        elif component:
            parts.setdefault(component, {})[prefix] = None
        else:
            foreign.append(key)
    config, note = family.config, family.note
    for marker, reason in _OTHER_SAMPLING.items():
        if marker in shapes:
            config, note = None, reason
            break
    return Checkpoint(
        family=family.name,
        pipeline=family.pipeline,
        config=config,
        components={name: tuple(prefixes) for name, prefixes in parts.items()},
        missing=tuple(name for name in family.components if name not in parts),
        ema=tuple(ema),
        benign=tuple(benign),
        foreign=tuple(foreign),
        scheduler=stated_scheduler(shapes),
        note=note,
    )


def stated_scheduler(shapes: Mapping[str, Shape]) -> dict[str, Json]:
    """Scheduler settings that a single file of any architecture states with marker tensors, as NoobAI's do."""
    stated: dict[str, Json] = {}
    if "v_pred" in shapes:
        stated["prediction_type"] = "v_prediction"
    if "ztsnr" in shapes:
        stated["rescale_betas_zero_snr"] = True
    return stated


def _what_else(shapes: Mapping[str, Shape]) -> str:
    """What tensors that no family claims look like instead."""
    for pattern, what in _OTHERS:
        if any(map(re.compile(pattern).search, shapes)):
            return what
    first = next(iter(shapes), "")
    if not first:
        return "it is empty"
    return f"its architecture is unknown (the first tensor is {first[:120]!r})"


_OTHERS = (
    (r"[._]lora[._](?:down|up|A|B)|\.hada_w|\.lokr_w", "it is a LoRA or LyCORIS file: name it under `adapters`"),
    (r"^emb_params$|^string_to_param|^clip_[lg]$|^<.+>$", "it is a textual inversion: name it under `adapters`"),
    (r"^(?:image_proj|ip_adapter)\.", "it is an IP-Adapter: name it under `adapters`"),
    (r"^control_model\.|^controlnet_", "it is a ControlNet, which recipes do not support"),
    (r"^(?:input_blocks|down_blocks|time_embed)", "it is a UNet alone: name it under `base.components.unet`"),
    (
        r"^(?:first_stage_model\.)?(?:encoder|decoder)\.(?:down|up|mid|conv)",
        "it is a VAE alone: name it under `base.components.vae`",
    ),
    (r"^(?:single_)?transformer_blocks\.", "it is a diffusers transformer alone: name it under `base.components`"),
    (r"^(?:text_model|encoder\.(?:layers|block))\.", "it is a text encoder alone: name it under `base.components`"),
    (UNET, "the family of its UNet is unknown; name a configuration with `base.config`"),
)
