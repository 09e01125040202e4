"""Find the model family of a set of modules, from the tables of signatures and of structures."""

from __future__ import annotations

from dataclasses import dataclass

from recipe_runner.weights.families.denoiser_families import DENOISER_FAMILIES
from recipe_runner.weights.families.denoiser_structures import STRUCTURES
from recipe_runner.weights.families.denoisers import DenoiserFamily, FamilySignature, Outline
from recipe_runner.weights.modules import Shape


@dataclass(frozen=True, slots=True)
class FamilyFound:
    """A family, and a sentence that says which module identified it."""

    family: DenoiserFamily
    reason: str


def family_of(modules: Outline) -> FamilyFound | None:
    """The first family with a signature that the modules have; else the first that their names alone identify."""
    for family in DENOISER_FAMILIES:
        for signature in family.signatures:
            found = modules.find(signature)
            if found is not None:
                return FamilyFound(family, _reason(modules, signature, *found, family.title))
    for family_name, signature in STRUCTURES:
        found = modules.find(signature)
        if found is not None:
            name, family = found[0], family_called(family_name)
            return FamilyFound(family, f"{name} is named as in {family.title}, but no published model has its sizes")
    return None


def _reason(modules: Outline, signature: FamilySignature, name: str, shape: Shape, title: str) -> str:
    blocks = f" in {modules.groups[name].blocks} blocks" if signature.blocks else ""
    if not shape:
        return f"{name}{blocks} exists, as in {title}"
    return f"{name}{blocks} is {'x'.join(map(str, shape))}, as in {title}"


def family_called(name: str) -> DenoiserFamily:
    """The family of that name."""
    return next(family for family in DENOISER_FAMILIES if family.name == name)


def family_name(found: FamilyFound | None) -> str | None:
    """The name of the family that was found; None when none was."""
    return None if found is None else found.family.name
