"""Textual inversions, judged by the module that places them."""

from __future__ import annotations

import re

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import FLUX1, SD3, SDXL
from recipe_runner.weights.embedding import T5, Embedding, identify_embedding
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Broken, Match, NotMine, Verdict
from recipe_runner.weights.modules import Shape

_LAYOUTS = {"A1111": "a1111", "bare tensor": "bare"}
_PER_ENCODER = "kohya"
_FAMILIES = {768: "sd1", 1024: "sd2"}
_MOST_TENSORS = 32
_NAMED = re.compile(r"<[^>\n]+>")
_SIGNS = r"^emb_params$|^string_to_param(?:\.|$)|^<[^>\n]+>$"


def look(evidence: Evidence) -> Verdict:
    """Whether the file is a textual inversion."""
    contents = evidence.contents
    if len(evidence.shapes) > _MOST_TENSORS:
        return NotMine(f"it holds {len(evidence.shapes)} tensors, and an embedding is one token's vectors")
    name = contents.values.get("name")
    found = identify_embedding(evidence.shapes, dtypes=contents.dtypes, name=name if isinstance(name, str) else None)
    if isinstance(found, str):
        if all(_NAMED.fullmatch(key) for key in evidence.shapes):
            return _several(evidence)
        marked = evidence.find(_SIGNS)
        if marked is not None and len(evidence.shapes) == 1:
            return Broken("textual_inversion", found)
        return NotMine(found)
    return _match(evidence, found)


def _several(evidence: Evidence) -> Match:
    """A file of several tokens in brackets, of which a recipe names one at a time."""
    widths = list(dict.fromkeys(shape[-1] for shape in evidence.shapes.values() if shape))
    details: dict[str, Json] = {"tokens": list[Json](evidence.shapes), "widths": list[Json](widths)}
    return Match(
        kind="textual_inversion",
        layout="diffusers",
        family=_FAMILIES.get(widths[0]) if len(widths) == 1 else None,
        details=details,
        reason=f"its {len(evidence.shapes)} tensors are named as tokens",
    )


def _match(evidence: Evidence, found: Embedding) -> Match:
    family: str | None
    widths = [vectors.width for vectors in found.vectors]
    counts = [vectors.count for vectors in found.vectors]
    if len(found.vectors) > 1:
        layout = _PER_ENCODER
        third = any(vectors.component == T5 for vectors in found.vectors)
        if not third:
            family = SDXL.name
        elif len(found.vectors) > 2:  # noqa: PLR2004 - two CLIP encoders and T5
            family = SD3.name
        else:
            family = FLUX1.name
    else:
        layout = _LAYOUTS.get(found.layout, "diffusers")
        family = _FAMILIES.get(widths[0])
    details: dict[str, Json] = {"token": found.token, "vectors": max(counts), "widths": list[Json](widths)}
    for key in ("step", "sd_checkpoint_name"):
        if (value := evidence.contents.values.get(key)) is not None:
            details[key] = value
    shapes = ", ".join(_written(vectors.shape) for vectors in found.vectors)
    return Match(
        kind="textual_inversion",
        layout=layout,
        family=family,
        details=details,
        reason=f"its tensors are learned vectors ({shapes}) in the layout of {found.layout}",
    )


def _written(shape: Shape) -> str:
    return "x".join(map(str, shape))
