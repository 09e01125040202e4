"""Identify textual inversions, with the code that also loads them."""

from __future__ import annotations

import re

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import FLUX1, SD1, SD2, SD3, SDXL
from recipe_runner.weights.embedding import T5, Embedding, identify_embedding
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Broken, Match, NotMine, Verdict

_LAYOUTS = {"A1111": "a1111", "bare tensor": "bare"}
_PER_ENCODER = "kohya"
_FAMILIES = {model.text_width: model.name for model in (SD1, SD2)}
_MOST_TENSORS = 32
_NAMED = re.compile(r"<[^>\n]+>")
_SIGNS = r"^emb_params$|^string_to_param(?:\.|$)|^<[^>\n]+>$"


def look(evidence: Evidence) -> Verdict:
    """Whether the file is a textual inversion."""
    contents = evidence.contents
    if len(evidence.shapes) > _MOST_TENSORS:
        return NotMine(f"it contains {len(evidence.shapes)} tensors, too many for the vectors of one token")
    name = contents.values.get("name")
    if not isinstance(name, str):
        name = None
    found = identify_embedding(evidence.shapes, dtypes=contents.dtypes, name=name)
    if not isinstance(found, str):
        return _match(evidence, found)
    if all(_NAMED.fullmatch(key) for key in evidence.shapes):
        return _several(evidence)
    if len(evidence.shapes) == 1 and evidence.find(_SIGNS) is not None:
        return Broken("textual_inversion", found)
    return NotMine(found)


def _several(evidence: Evidence) -> Match:
    """A file of several tokens in angle brackets. A recipe chooses one of them."""
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
    widths = [vectors.width for vectors in found.vectors]
    details: dict[str, Json] = {
        "token": found.token,
        "vectors": max(vectors.count for vectors in found.vectors),
        "widths": list[Json](widths),
    }
    for key in ("step", "sd_checkpoint_name"):
        value = evidence.contents.values.get(key)
        if value is not None:
            details[key] = value
    layout, family = _LAYOUTS.get(found.layout, "diffusers"), _FAMILIES.get(widths[0])
    if len(found.vectors) > 1:
        layout, family = _PER_ENCODER, _family_of_encoders(found)
    shapes = ", ".join("x".join(map(str, vectors.shape)) for vectors in found.vectors)
    return Match(
        kind="textual_inversion",
        layout=layout,
        family=family,
        details=details,
        reason=f"its tensors are learned vectors ({shapes}) in the layout of {found.layout}",
    )


def _family_of_encoders(found: Embedding) -> str:
    """The family of a file with vectors for several text encoders."""
    if not any(vectors.component == T5 for vectors in found.vectors):
        return SDXL.name
    has_two_clip = len(found.vectors) > 2  # noqa: PLR2004
    return SD3.name if has_two_clip else FLUX1.name
