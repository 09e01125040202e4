"""Identify the model family of modules by their names and shapes, whether of a denoiser, a LoRA or a ControlNet.

A family is a small table of signatures (`denoiser_families`). Names are compared in one spelling, with underscores for
dots and `#` for numbers, so that the same signatures match weights files, diffusers' LoRAs and Kohya's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from recipe_runner.weights.modules import Shape

_NUMBER = re.compile(r"(?<![^_.])\d+(?![^_.])")
_MATRIX = 2


@dataclass(frozen=True, slots=True)
class FamilySignature:
    """What identifies a family: a module whose name contains `pattern`, with one of the given input `widths`.

    Attributes:
        pattern: regular expression that is searched in the module's name, in the common spelling.
        widths: allowed input widths (second dimension of the weight); empty: any.
        blocks: least and greatest number of blocks in the list that the name's first number indexes; None: any.
        ratio: outputs divided by inputs; 0: any.
        without: no module's name may contain this.
        needs: another module's name must contain this.
    """

    pattern: str
    widths: tuple[int, ...] = ()
    blocks: tuple[int, int] | None = None
    ratio: float = 0
    without: str = ""
    needs: str = ""

    def fits_shape(self, shape: Shape) -> bool:
        """Whether a weight of this shape has the width and the ratio."""
        if not self.widths and not self.ratio:
            return True
        if len(shape) < _MATRIX:
            return False
        if self.widths and shape[1] not in self.widths:
            return False
        return not self.ratio or (shape[1] > 0 and shape[0] / shape[1] == self.ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserFamily:
    """A family: its name in output, its title for people, the component that denoises, and its signatures.

    Any one of the signatures identifies the family.
    """

    name: str
    title: str
    component: str
    signatures: tuple[FamilySignature, ...]


@dataclass(slots=True)
class ModuleGroup:
    """The modules whose names differ only in numbers: their shapes, and the length of the list of blocks."""

    shapes: dict[Shape, None] = field(default_factory=dict)
    blocks: int = 0

    def has_blocks(self, limits: tuple[int, int] | None) -> bool:
        """Whether the number of blocks is within the limits; None allows any."""
        return limits is None or limits[0] <= self.blocks <= limits[1]


@dataclass(frozen=True, slots=True)
class Outline:
    """Modules in groups, by the common spelling of their names."""

    groups: Mapping[str, ModuleGroup]

    def find(self, signature: FamilySignature) -> tuple[str, Shape] | None:
        """The first name that matches the signature, with the shape that does; None when none does."""
        if signature.without and self._has(signature.without):
            return None
        if signature.needs and not self._has(signature.needs):
            return None
        for name, group in self.groups.items():
            if not group.has_blocks(signature.blocks) or not re.search(signature.pattern, name):
                continue
            for shape in group.shapes:
                if signature.fits_shape(shape):
                    return name, shape
        return None

    def _has(self, pattern: str) -> bool:
        return any(re.search(pattern, name) for name in self.groups)


def outline(modules: Iterable[tuple[str, Shape]]) -> Outline:
    """Group modules, given as name and weight shape; names can have dots or underscores."""
    groups: dict[str, ModuleGroup] = {}
    for name, shape in modules:
        spelling = _NUMBER.sub("#", name).replace(".", "_")
        group = groups.setdefault(spelling, ModuleGroup())
        group.shapes[shape] = None
        number = _NUMBER.search(name) if "#" in spelling else None
        if number is not None:
            group.blocks = max(group.blocks, int(number[0]) + 1)
    return Outline(groups)
