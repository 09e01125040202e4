"""A difference as a page: what changed, and the images of two runs side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipe_runner.diff.difference import Difference, ImagePair, PictureSide
from recipe_runner.images.labels import image_name
from recipe_runner.report.diff import is_unequal
from recipe_runner.report.diff_lines import counts, measure_text, name_of, reasons, sections, verdicts
from recipe_runner.report.page.render import SLIDER, image_source, render, shown_size

SCRIPTS = (SLIDER, "assets/page.js", "assets/comparison.js", "assets/diff.js")
_SHOWN = 384


def diff_html(difference: Difference, folder: Path, *, embed: bool = False) -> bytes:
    """The page as UTF-8.

    Args:
        difference: what to show.
        folder: the folder of the page; links to images are relative to it.
        embed: embed the images in the page, so that it is one file to share.
    """
    pairs: list[Mapping[str, Any]] = []
    data: list[Mapping[str, Any]] = []
    equal: list[str] = []
    for pair in difference.pairs:
        if not is_unequal(pair):
            equal.append(name_of(pair))
            continue
        old, new = _side(pair.old, folder, embed=embed), _side(pair.new, folder, embed=embed)
        number = None
        if old and new and old["src"] and new["src"]:
            number = len(data)
            data.append({"sizes": [old["size"], new["size"]], "facts": _facts(pair)})
        pairs.append(
            {
                "name": name_of(pair),
                "verdict": pair.verdict,
                "measure": measure_text(pair),
                "reasons": pair.reasons,
                "old": old,
                "new": new,
                "number": number,
            }
        )
    return render(
        "diff.html",
        SCRIPTS,
        title=f"{difference.old} → {difference.new}",
        difference=difference,
        sections=list(sections(difference.changes)),
        **_cost(difference),
        pairs=pairs,
        equal=equal,
        data={"pairs": data},
    )


def _cost(difference: Difference) -> dict[str, Any]:
    """The values of the template about the images that change."""
    cost = difference.cost
    if cost is None:
        summary = verdicts(difference) if difference.pairs else ""
        return {"summary": summary, "provisional": (), "reasons": [], "fates": []}
    fates = []
    for image in cost.images:
        name = image_name(image.prompt, image.seed, image.variant)
        fates.append((name, image.fate, "; ".join(image.reasons)))
    return {
        "summary": counts(cost),
        "provisional": cost.provisional,
        "reasons": list(reasons(cost)),
        "fates": fates,
    }


def _side(side: PictureSide | None, folder: Path, *, embed: bool) -> Mapping[str, Any] | None:
    if side is None:
        return None
    shown = shown_size(side.width, side.height, _SHOWN)
    source = None
    if side.file is not None:
        source = image_source(side.file, folder, embed=embed)
    return {
        "src": source,
        "href": "#" if embed else source,
        "width": shown.width,
        "height": shown.height,
        "size": [side.width, side.height],
        "tiny": shown.is_enlarged,
        "pixel_sha256": side.pixel_sha256,
    }


def _facts(pair: ImagePair) -> list[list[str]]:
    """The digests of a pair that differ, for the table below the two images."""
    if pair.old is None or pair.new is None:
        return []
    rows = [
        ["node key", pair.old.node_key, pair.new.node_key],
        ["file sha256", pair.old.file_sha256, pair.new.file_sha256],
        ["pixel sha256", pair.old.pixel_sha256, pair.new.pixel_sha256],
    ]
    return [row for row in rows if row[1] != row[2]]
