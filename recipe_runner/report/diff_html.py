"""A difference as a page: what changed, and the pictures of two runs side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipe_runner.diff.difference import Difference, ImagePair, PictureSide
from recipe_runner.images.labels import image_name
from recipe_runner.report.diff import unequal
from recipe_runner.report.diff_lines import counts, measure_text, name_of, reasons, sections, verdicts
from recipe_runner.report.page.render import SLIDER, embedded, link, render

SCRIPTS = (SLIDER, "assets/page.js", "assets/comparison.js", "assets/diff.js")
_TINY, _SHOWN = 160, 384


def diff_html(difference: Difference, folder: Path, *, embed: bool = False) -> bytes:
    """The page as UTF-8.

    Args:
        difference: what to show.
        folder: where the page will lie: pictures are linked as seen from there.
        embed: put the pictures into the page instead, so that it can be sent.
    """
    pairs: list[Mapping[str, Any]] = []
    data: list[Mapping[str, Any]] = []
    for pair in unequal(difference):
        old, new = (_side(side, folder, embed=embed) for side in (pair.old, pair.new))
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
    cost = difference.cost
    return render(
        "diff.html",
        SCRIPTS,
        title=f"{difference.old} → {difference.new}",
        difference=difference,
        sections=list(sections(difference.changes)),
        summary=counts(cost) if cost else verdicts(difference) if difference.pairs else "",
        provisional=cost.provisional if cost else (),
        reasons=list(reasons(cost)) if cost else [],
        fates=[
            (image_name(image.prompt, image.seed, image.variant), image.fate, "; ".join(image.reasons))
            for image in (cost.images if cost else ())
        ],
        pairs=pairs,
        equal=[name_of(pair) for pair in difference.pairs if pair.verdict in ("identical", "equal pixels")],
        data={"pairs": data},
    )


def _side(side: PictureSide | None, folder: Path, *, embed: bool) -> Mapping[str, Any] | None:
    if side is None:
        return None
    longer = max(side.width, side.height)
    # A tiny picture a whole number of times its size, so that every pixel is a square.
    times = -(-_TINY // longer) if longer < _TINY else min(1.0, _SHOWN / longer)
    source = None if side.file is None else embedded(side.file) if embed else link(side.file, folder)
    return {
        "src": source,
        "href": "#" if embed else source,
        "width": round(side.width * times),
        "height": round(side.height * times),
        "size": [side.width, side.height],
        "tiny": times > 1,
        "pixel_sha256": side.pixel_sha256,
    }


def _facts(pair: ImagePair) -> list[list[str]]:
    """What of a pair's digests differs, for the table below the two pictures."""
    if pair.old is None or pair.new is None:
        return []
    rows = [
        ["node key", pair.old.node_key, pair.new.node_key],
        ["file sha256", pair.old.file_sha256, pair.new.file_sha256],
        ["pixel sha256", pair.old.pixel_sha256, pair.new.pixel_sha256],
    ]
    return [row for row in rows if row[1] != row[2]]
