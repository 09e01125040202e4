"""How the trainers' files name modules: one small class for each way of writing, tried in order.

A dialect claims a stem (a key without its role) by how it is written. The claim names the component and how to look up
the module. Bare names have no component: it is decided for the whole file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from recipe_runner.weights.lora.names import DENOISERS, Names, Target
from recipe_runner.weights.modules import Modules, ModuleTable

Spelling = Literal["dotted", "underscored"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a dialect reads in a stem: layout, component (None: the stem names none), name and spelling."""

    layout: str
    component: str | None
    name: str
    spelling: Spelling

    def look_up(self, names: Names) -> Target | None:
        """The module that the name means in the component of `names`."""
        if self.spelling == "dotted":
            return names.find_dotted(self.name)
        # Some scripts wrote the component twice: lora_unet_unet_down_blocks_…
        twice = self.name.removeprefix(f"{self.component}_")
        return names.find_underscored(self.name) or names.find_underscored(twice)


Dialect = Callable[[str, ModuleTable], Claim | None]

_WRAPPERS = ("base_model.model.", "module.", "_orig_mod.")
_COMFYUI = (
    "text_encoders.clip_l.transformer",
    "text_encoders.clip_g.transformer",
    "text_encoders.t5xxl.transformer",
    "clip_l.transformer",
    "clip_g.transformer",
    "t5xxl.transformer",
)
_DOTTED_PREFIXES = (
    *_COMFYUI,
    "unet",
    "transformer_2",
    "transformer",
    "text_encoder_3",
    "text_encoder_2",
    "text_encoder",
    "denoiser",
    "conditional_transformer",
    "model.diffusion_model",
    "diffusion_model",
    "clip_l",
    "clip_g",
    "t5xxl",
    "t5",
)
DENOISES = ("unet", "transformer", "denoiser", "conditional_transformer", "diffusion_model", "model.diffusion_model")
"""The names that trainers give to the denoiser."""
_KOHYA = re.compile(r"(?:lora|oft)_(unet|transformer_2|transformer|te[123]?|text_encoder(?:_[23])?)_(.+)")
_ALIASES = {"te": "text_encoder", "te1": "text_encoder", "clip_l": "text_encoder", "te2": "text_encoder_2",
            "clip_g": "text_encoder_2", "te3": "text_encoder_3", "t5": "text_encoder_3",
            "t5xxl": "text_encoder_3"}  # fmt: skip
_LAYOUTS = {
    "diffusion_model": "diffusion_model",
    "model.diffusion_model": "diffusion_model",
    "denoiser": "omi",
    "clip_l": "omi",
    "clip_g": "omi",
    "t5": "omi",
    "t5xxl": "omi",
    **dict.fromkeys(_COMFYUI, "comfyui"),
}


def component_of(prefix: str, table: ModuleTable) -> str:
    """The component of the base that a prefix means; a name that the base lacks is returned unchanged."""
    if prefix == "transformer":
        return prefix
    if prefix in DENOISES:
        # Kohya writes lora_unet_ for transformers too, and diffusion_model stands for any denoiser.
        return next((name for name in DENOISERS if name in table), prefix)
    name = prefix.removeprefix("text_encoders.").removesuffix(".transformer")
    component = _ALIASES.get(name, name)
    if component == "text_encoder_3" and component not in table:
        # Trainers count T5 as the third; Flux has it second, and Chroma and PixArt alone.
        for encoder in ("text_encoder_2", "text_encoder"):
            if _is_t5(table.get(encoder, {})):
                return encoder
    return component


def _is_t5(modules: Modules) -> bool:
    return any(name.startswith("encoder.block.") for name in modules)


def kohya(stem: str, table: ModuleTable) -> Claim | None:
    """`lora_unet_down_blocks_0_…`: the component, then the module's name with underscores for dots."""
    match = _KOHYA.fullmatch(stem)
    if match is None:
        return None
    prefix, name = match.groups()
    component = component_of(prefix, table)
    if prefix == "transformer" and component not in table:
        component = component_of("unet", table)
    return Claim("kohya", component, name, "underscored")


def lycoris(stem: str, _table: ModuleTable) -> Claim | None:
    """`lycoris_down_blocks_0_…`: LyCORIS, run without a name for the component."""
    if not stem.startswith("lycoris_"):
        return None
    return Claim("lycoris", None, stem.removeprefix("lycoris_"), "underscored")


def dotted(stem: str, table: ModuleTable) -> Claim | None:
    """`unet.down_blocks.0.…`: diffusers of every age, PEFT, ai-toolkit, OMI; and names without a prefix."""
    name, wrapped = _unwrapped(stem)
    for prefix in _DOTTED_PREFIXES:
        if name.startswith(f"{prefix}."):
            rest, inside = _unwrapped(name.removeprefix(f"{prefix}."))
            layout = "peft" if wrapped or inside else _LAYOUTS.get(prefix, "diffusers")
            if ".processor." in rest:
                layout = f"{layout} attention processors"
            return Claim(layout, component_of(prefix, table), rest, "dotted")
    layout = "peft" if wrapped else "bare"
    if ".processor." in name:
        layout = f"{layout} attention processors"
    return Claim(layout, None, name, "dotted")


def _unwrapped(name: str) -> tuple[str, bool]:
    """A name without the prefixes that PEFT, parallel training and compiling add, and whether it had one."""
    plain = name
    for wrapper in _WRAPPERS:
        plain = plain.removeprefix(wrapper)
    return plain.replace("_orig_mod.", ""), plain != name


DIALECTS: Sequence[Dialect] = (kohya, lycoris, dotted)
"""Tried in this order; the last claims everything."""


def claim(stem: str, table: ModuleTable) -> Claim:
    """The claim of the first dialect that understands the stem."""
    for dialect in DIALECTS:
        found = dialect(stem, table)
        if found is not None:
            return found
    message = f"BUG: no dialect claims {stem!r}"
    raise AssertionError(message)
