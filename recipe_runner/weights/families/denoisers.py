"""Which model family modules belong to, told by their names and shapes: of a denoiser, a LoRA, or a ControlNet.

A family is a small table of marks (`denoiser_families`). Names are compared in one spelling, underscores for dots and
`#` for numbers, so that the same marks serve weights files, diffusers' LoRAs and Kohya's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from recipe_runner.weights.modules import Shape

_NUMBER = re.compile(r"(?<![^_.])\d+(?![^_.])")
_MATRIX = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that tells a family: a module whose name contains `pattern`, of one of the given input `widths`.

    Attributes:
        pattern: of the module's name in the common spelling, searched for.
        widths: its input width (second dimension of its weight) must be one of these; empty: any.
        blocks: how many blocks the list that its first number counts has, from and to; None: any.
        ratio: outputs divided by inputs; 0: any.
        without: no module's name may contain this.
        needs: some other module's name must contain this.
    """

    pattern: str
    widths: tuple[int, ...] = ()
    blocks: tuple[int, int] | None = None
    ratio: float = 0
    without: str = ""
    needs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserFamily:
    """One family: its name in reports, its name for people, what denoises in it, and its marks, any of which tells."""

    name: str
    title: str
    component: str
    marks: tuple[Mark, ...]


@dataclass(slots=True)
class _Kin:
    """All modules whose names differ in numbers alone: the shapes that they have, and how many the first list has."""

    shapes: dict[Shape, None] = field(default_factory=dict)
    blocks: int = 0


@dataclass(frozen=True, slots=True)
class Outline:
    """Modules in short: the common spelling of their names, each with its shapes and count of blocks."""

    kin: Mapping[str, _Kin]

    def find(self, mark: Mark) -> tuple[str, Shape] | None:
        """The first name that bears the mark, with the shape that does; None when none does."""
        if mark.without and any(re.search(mark.without, name) for name in self.kin):
            return None
        if mark.needs and not any(re.search(mark.needs, name) for name in self.kin):
            return None
        for name, kin in self.kin.items():
            counted = mark.blocks is None or mark.blocks[0] <= kin.blocks <= mark.blocks[1]
            if counted and re.search(mark.pattern, name):
                for shape in kin.shapes:
                    if _bears(shape, mark):
                        return name, shape
        return None


def _bears(shape: Shape, mark: Mark) -> bool:
    if mark.widths and (len(shape) < _MATRIX or shape[1] not in mark.widths):
        return False
    return not mark.ratio or (len(shape) >= _MATRIX and shape[1] > 0 and shape[0] / shape[1] == mark.ratio)


def outline(modules: Iterable[tuple[str, Shape]]) -> Outline:
    """The outline of modules, given as name and weight shape; names may have dots or underscores."""
    kin: dict[str, _Kin] = {}
    for name, shape in modules:
        spelling = _NUMBER.sub("#", name).replace(".", "_")
        found = kin.setdefault(spelling, _Kin())
        found.shapes[shape] = None
        if "#" in spelling:
            number = _NUMBER.search(name)
            found.blocks = max(found.blocks, int(number[0]) + 1 if number else 0)
    return Outline(kin)
