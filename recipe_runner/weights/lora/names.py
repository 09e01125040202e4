"""Every name that LoRA files use for a module of the base, built from the base's real modules.

Trainers write dots as underscores, which cannot be undone by text alone (`to_out_0`, `transformer_blocks_0`): instead,
the names of the real modules are written in the same way, and looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from recipe_runner.weights.lora.flux_names import flux_names
from recipe_runner.weights.lora.layout import Pieces
from recipe_runner.weights.lora.original_names import original_names
from recipe_runner.weights.lora.sd3_names import sd3_names
from recipe_runner.weights.lora.sgm_names import sgm_names
from recipe_runner.weights.modules import TEXT_MODEL, Modules

Origin = Literal["", "sgm", "bfl", "xlabs", "mmdit", "original"]
"""Whose code a name is from; empty for diffusers' and transformers' own names."""

DENOISERS = ("unet", "transformer")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")

_OLD_ATTENTION = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a name leads: one module, or several that share a fused tensor."""

    pieces: Pieces
    origin: Origin = ""

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of the modules."""
        return tuple(module for module, _ in self.pieces)


@dataclass(frozen=True, slots=True)
class Names:
    """The accepted names of one component, with dots and with underscores. None marks an ambiguous one."""

    modules: Modules
    dotted: Mapping[str, Target]
    underscored: Mapping[str, Target | None]

    def find_dotted(self, name: str) -> Target | None:
        """The module called `name`, as diffusers of any age writes it."""
        for spelling in _spellings(name):
            if spelling in self.dotted:
                return self.dotted[spelling]
        # Some converters wrote every underscore of an underscored name as a dot: attention.to.q.
        return self.find_underscored(name)

    def find_underscored(self, name: str) -> Target | None:
        """The module whose name with underscores for dots is `name`, in which some dots may be left."""
        plain = name.replace(".", "_")
        for spelling in (plain, f"{plain}_0"):
            if self.underscored.get(spelling) is not None:
                return self.underscored[spelling]
        return None


def names_of(component: str, modules: Modules) -> Names:
    """All accepted names of the component's modules."""
    dotted: dict[str, Target] = {name: Target(((name, None),)) for name in modules}
    for name, target in _other_names(component, modules):
        dotted.setdefault(name, target)
    underscored: dict[str, Target | None] = {}
    for name, target in dotted.items():
        spelling = name.replace(".", "_")
        taken = underscored.get(spelling, target)
        underscored[spelling] = target if taken is not None and taken.pieces == target.pieces else None
    return Names(modules, dotted, underscored)


def _other_names(component: str, modules: Modules) -> Iterator[tuple[str, Target]]:
    if component in TEXT_ENCODERS:
        for name in modules:
            plain = name.removeprefix(TEXT_MODEL)
            yield plain if plain != name else f"{TEXT_MODEL}{name}", Target(((name, None),))
        return
    for name, module in sgm_names(modules):
        yield name, Target(((module, None),), "sgm")
    for name, pieces in flux_names(modules):
        yield name, Target(pieces, "xlabs" if ".processor." in name else "bfl")
    for name, pieces in sd3_names(modules):
        yield name, Target(pieces, "mmdit")
    for name, pieces in original_names(modules):
        yield name, Target(pieces, "original")


def _spellings(name: str) -> Iterator[str]:
    """A dotted name as written, then as old versions of diffusers wrote it: attention processors, q_proj as to_q."""
    yield name
    plain = name.replace(".processor.", ".")
    if plain != name:
        yield plain
    if plain.endswith("to_out"):
        yield f"{plain}.0"
    stem, _, last = plain.rpartition(".")
    if last in _OLD_ATTENTION and stem.endswith("self_attn"):
        yield f"{stem}.{_OLD_ATTENTION[last]}"
