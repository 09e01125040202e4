"""The family that modules are of, by the tables of marks and of structures."""

from __future__ import annotations

from dataclasses import dataclass

from recipe_runner.weights.families.denoiser_families import DENOISER_FAMILIES
from recipe_runner.weights.families.denoiser_structures import STRUCTURES
from recipe_runner.weights.families.denoisers import DenoiserFamily, Outline


@dataclass(frozen=True, slots=True)
class FamilyFound:
    """A family, and the sentence on what told it."""

    family: DenoiserFamily
    reason: str


def family_of(modules: Outline) -> FamilyFound | None:
    """The first family one of whose marks the modules bear; else the one that their names alone tell."""
    for family in DENOISER_FAMILIES:
        for mark in family.marks:
            found = modules.find(mark)
            if found is not None:
                name, shape = found
                shown = "x".join(map(str, shape))
                blocks = f" in {modules.kin[name].blocks} blocks" if mark.blocks else ""
                return FamilyFound(family, f"{name}{blocks} is {shown or 'there'}, as in {family.title}")
    for family_name, mark in STRUCTURES:
        if found := modules.find(mark):
            family = family_called(family_name)
            return FamilyFound(
                family, f"{found[0]} is named as in {family.title}, in sizes that no published model has"
            )
    return None


def family_called(name: str) -> DenoiserFamily:
    """The family of that name."""
    return next(family for family in DENOISER_FAMILIES if family.name == name)
