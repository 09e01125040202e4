"""The verdict of one kind on a file: a match, not this kind, or broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recipe_runner.canonical import Json


@dataclass(frozen=True, kw_only=True)
class Match:
    """The file is of this kind.

    Attributes:
        kind: `checkpoint`, `lora`, …
        reason: the evidence, in one sentence.
        layout: the convention that names the tensors, such as `kohya`; empty when there is only one.
        family: the model family; None when the shapes do not identify it.
        variety: the variety of the kind (`lokr`, `plus face`, `inpainting`); empty when there is only one.
        details: more facts, as plain data.
        notes: sentences about what is unusual.
    """

    kind: str
    reason: str
    layout: str = ""
    family: str | None = None
    variety: str = ""
    details: Mapping[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotMine:
    """The file is not of this kind, because of `reason`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The file is of this kind but cannot be used, because of `reason`. No other kind matches it."""

    kind: str
    reason: str


Verdict = Match | NotMine | Broken
