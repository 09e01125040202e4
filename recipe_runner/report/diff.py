"""A difference as text for a terminal, as JSON, and as annotations of a pull request."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

from recipe_runner.canonical import Json
from recipe_runner.diff.difference import Change, Cost, Difference, ImageFate, ImagePair, PictureSide, Word
from recipe_runner.report.diff_lines import (
    SHOWN,
    Line,
    counts,
    line,
    measure_text,
    name_of,
    reasons,
    sections,
    verb,
    verdicts,
)
from recipe_runner.report.escape import annotation, one_line
from recipe_runner.report.terminal.colour import paint
from recipe_runner.report.text import first_of

_MARKS = {"+": "{{+{}+}}", "-": "[-{}-]"}
"""How git marks new and old words."""
_REASONS = 3
"""Reasons that are shown for one pair of images."""
SAME = "the same by meaning"


def diff_text(difference: Difference, *, colour: bool = False) -> str:
    """The difference for a person; without colour, changed words are marked as git does: `[-old-]{+new+}`."""
    return "\n".join(_text_lines(difference, colour=colour)) + "\n"


def _text_lines(difference: Difference, *, colour: bool) -> Iterator[str]:
    painted = partial(paint, colour=colour)
    yield painted("head", f"{difference.kind}: {one_line(difference.old)} → {one_line(difference.new)}")
    if difference.same:
        yield f"  {SAME}"
    for section, lines in sections(difference.changes):
        yield ""
        yield painted("head", section)
        for entry in lines:
            yield f"  {painted(entry.sign, entry.sign)} {entry.path}: {_pieces_text(entry, colour=colour)}"
    if difference.cost is not None:
        yield ""
        yield painted("head", "images")
        yield from _cost_lines(difference.cost)
    if difference.pairs:
        yield ""
        yield painted("head", "images")
        yield f"  {verdicts(difference)}"
        pairs = list(map(_pair_text, unequal(difference)))
        for text in first_of(pairs, SHOWN):
            yield f"  {text}"
    if difference.notes:
        yield ""
        for note in difference.notes:
            yield f"note: {one_line(note)}"


def _pieces_text(entry: Line, *, colour: bool) -> str:
    # Without colour the marks tell old from new inside of a text.
    is_marked = not colour and any(piece.sign == " " and piece.text != " → " for piece in entry.pieces)
    texts = []
    for piece in entry.pieces:
        if piece.sign == " ":
            texts.append(piece.text)
        elif is_marked:
            texts.append(_marked(piece))
        else:
            texts.append(paint(piece.sign, piece.text, colour=colour))
    return "".join(texts)


def _marked(piece: Word) -> str:
    """A piece of a text with git's marks, if it is old or new."""
    if piece.sign == " ":
        return piece.text
    return _MARKS[piece.sign].format(piece.text)


def _cost_lines(cost: Cost) -> Iterator[str]:
    yield f"  {counts(cost)}"
    lines = []
    for fate, why, count in reasons(cost):
        lines.append(f"{count} {verb(fate, count)}: {why}")
    for text in first_of(lines, SHOWN):
        yield f"  {text}"
    for reason in cost.provisional:
        yield f"  provisional: {one_line(reason)}"


def unequal(difference: Difference) -> list[ImagePair]:
    """The pairs that count as a difference."""
    return list(filter(is_unequal, difference.pairs))


def is_unequal(pair: ImagePair) -> bool:
    """Whether a pair of images counts as a difference."""
    return pair.verdict not in ("identical", "equal pixels")


def _pair_text(pair: ImagePair) -> str:
    parts = [pair.verdict, measure_text(pair)]
    parts += [f"because of {one_line(reason)}" for reason in pair.reasons[:_REASONS]]
    return f"{name_of(pair)}: {'; '.join(filter(None, parts))}"


def diff_json(difference: Difference) -> str:
    """The difference as one JSON object."""
    return json.dumps(_tree(difference), indent=2) + "\n"


def _tree(difference: Difference) -> Json:
    return {
        "kind": difference.kind,
        "old": difference.old,
        "new": difference.new,
        "same": difference.same,
        "changes": list(map(asdict, difference.changes)),
        "cost": _cost_tree(difference.cost),
        "images": list(map(_pair_tree, difference.pairs)),
        "notes": list(difference.notes),
    }


def _cost_tree(cost: Cost | None) -> Json:
    if cost is None:
        return None
    return {
        "count": {str(fate): count for fate, count in cost.count().items()},
        "to_make": cost.to_make,
        "denoising_steps": cost.denoising_steps,
        "provisional": list(cost.provisional),
        "reasons": [{"fate": fate, "reason": reason, "images": n} for (fate, reason), n in cost.reasons().items()],
        "images": list(map(_fate_tree, cost.images)),
    }


def _fate_tree(image: ImageFate) -> Json:
    return {**asdict(image), "variant": dict(image.variant)}


def _pair_tree(pair: ImagePair) -> Json:
    max_abs = psnr = ssim = None
    if pair.measure is not None:
        max_abs, psnr, ssim = pair.measure.max_abs, pair.measure.psnr, pair.measure.ssim
    if psnr is not None and not math.isfinite(psnr):
        # The PSNR of equal pixels is infinite, which JSON cannot express.
        psnr = None
    return {
        "verdict": pair.verdict,
        "prompt": pair.prompt,
        "seed": pair.seed,
        "variant": dict(pair.variant),
        "old": _side_tree(pair.old),
        "new": _side_tree(pair.new),
        "max_abs": max_abs,
        "psnr": psnr,
        "ssim": ssim,
        "reasons": list(pair.reasons),
    }


def _side_tree(side: PictureSide | None) -> Json:
    if side is None:
        return None
    file = side.file and side.file.as_posix()
    return {**asdict(side), "file": file}


def diff_github(difference: Difference) -> str:
    """One notice for each change, at its line of the new file, and one for the images."""
    notices = list(map(_change_notice, difference.changes))
    if difference.cost is not None:
        notices.append(annotation("notice", "images", _summary(difference.cost), _NO_PLACE))
    if difference.pairs:
        notices.append(annotation("notice", "images", verdicts(difference), _NO_PLACE))
    return "\n".join([*notices, ""])


_NO_PLACE = ("", 0, 0)


def _change_notice(change: Change) -> str:
    path = one_line(change.path)
    text = ""
    for piece in line(change).pieces:
        text += _marked(piece) if change.words else piece.text
    place = _NO_PLACE
    if change.place is not None and change.place.new:
        place = (change.place.path, change.place.line, change.place.column)
    return annotation("notice", f"{path} {change.what}", f"{path}: {text}", place)


def _summary(cost: Cost) -> str:
    text = counts(cost)
    if cost.provisional:
        text += " (provisional)"
    why = [f"{reason} ({count})" for _, reason, count in reasons(cost)]
    if why:
        text += f": {'; '.join(first_of(why, SHOWN))}"
    return text
