"""What a kind answers when it is asked whether a file is its own: a match, no with the reason, or broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recipe_runner.canonical import Json


@dataclass(frozen=True, kw_only=True)
class Match:
    """The file is of this kind.

    Attributes:
        kind: `checkpoint`, `lora`, …
        reason: what showed it, in one sentence.
        layout: whose way of naming tensors it is; empty where there is only one.
        family: the model family, or None where the shapes do not tell it.
        variety: what of its kind it is (`lokr`, `plus face`, `inpainting`); empty where there is but one.
        details: what else the kind can say, as plain data.
        notes: sentences for a person on what is unusual.
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
    """The file is of this kind and cannot be used, because of `reason`: no other kind will want it."""

    kind: str
    reason: str


Verdict = Match | NotMine | Broken
