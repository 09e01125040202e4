"""A difference for people on a terminal, for programs, for pull requests and for Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.diff.difference import Difference, ImagePair, PictureSide, Word
from recipe_runner.report.diff_lines import SHOWN, counts, line, measure_text, name_of, reasons, sections, verdicts
from recipe_runner.report.escape import annotation, one_line

_COLOURS = {"+": "\x1b[32m", "-": "\x1b[31m", "~": "\x1b[33m", "head": "\x1b[1m", "plain": "\x1b[0m"}
SAME = "the same by meaning"


def diff_text(difference: Difference, *, colour: bool = False) -> str:
    """The difference for a person; changed words as git marks them: `[-old-]{+new+}`."""
    return "\n".join(_text_lines(difference, colour=colour)) + "\n"


def _text_lines(difference: Difference, *, colour: bool) -> Iterator[str]:
    def paint(role: str, text: str) -> str:
        return f"{_COLOURS[role]}{text}{_COLOURS['plain']}" if colour else text

    yield paint("head", f"{difference.kind}: {one_line(difference.old)} → {one_line(difference.new)}")
    if difference.same:
        yield f"  {SAME}"
    for section, lines in sections(difference.changes):
        yield ""
        yield paint("head", section)
        for entry in lines:
            wordwise = any(piece.sign == " " and piece.text != " → " for piece in entry.pieces)
            told = "".join(_marked(piece, paint, wordwise and not colour) for piece in entry.pieces)
            yield f"  {paint(entry.sign, entry.sign)} {entry.path}: {told}"
    if difference.cost is not None:
        yield ""
        yield paint("head", "images")
        yield f"  {counts(difference.cost)}"
        whys = [f"{n} {fate if n == 1 else _plural(fate)}: {why}" for fate, why, n in reasons(difference.cost)]
        yield from (f"  {text}" for text in _cut(whys))
        for reason in difference.cost.provisional:
            yield f"  provisional: {one_line(reason)}"
    if difference.pairs:
        yield ""
        yield paint("head", "images")
        yield f"  {verdicts(difference)}"
        yield from (f"  {text}" for text in _cut([_pair_text(pair) for pair in unequal(difference)]))
    if difference.notes:
        yield ""
        yield from (f"note: {one_line(note)}" for note in difference.notes)


def _marked(piece: Word, paint: Any, mark: bool) -> str:  # noqa: FBT001
    if piece.sign == " ":
        return piece.text
    if mark:
        return f"{{+{piece.text}+}}" if piece.sign == "+" else f"[-{piece.text}-]"
    return str(paint(piece.sign, piece.text))


def _plural(fate: str) -> str:
    return {"changes": "change", "stays": "stay", "appears": "appear", "vanishes": "vanish"}[fate]


def unequal(difference: Difference) -> list[ImagePair]:
    """The pairs that count as a difference."""
    return [pair for pair in difference.pairs if pair.verdict not in ("identical", "equal pixels")]


def _pair_text(pair: ImagePair) -> str:
    told = [pair.verdict, measure_text(pair), *(f"because of {one_line(reason)}" for reason in pair.reasons[:3])]
    return f"{name_of(pair)}: {'; '.join(text for text in told if text)}"


def _cut(lines: Sequence[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], f"… and {more} more"] if more > 0 else list(lines)


def diff_json(difference: Difference) -> str:
    """The difference as one JSON object."""
    return json.dumps(_tree(difference), indent=2) + "\n"


def _tree(difference: Difference) -> Json:
    cost, pairs = difference.cost, difference.pairs
    return {
        "kind": difference.kind,
        "old": difference.old,
        "new": difference.new,
        "same": difference.same,
        "changes": [asdict(change) for change in difference.changes],
        "cost": None
        if cost is None
        else {
            "count": {str(fate): number for fate, number in cost.count().items()},
            "to_make": cost.to_make,
            "denoising_steps": cost.denoising_steps,
            "provisional": list(cost.provisional),
            "reasons": [{"fate": fate, "reason": reason, "images": n} for (fate, reason), n in cost.reasons().items()],
            "images": [{**asdict(image), "variant": dict(image.variant)} for image in cost.images],
        },
        "images": [_pair_tree(pair) for pair in pairs],
        "notes": list(difference.notes),
    }


def _pair_tree(pair: ImagePair) -> Json:
    measure = pair.measure
    return {
        "verdict": pair.verdict,
        "prompt": pair.prompt,
        "seed": pair.seed,
        "variant": dict(pair.variant),
        "old": _side_tree(pair.old),
        "new": _side_tree(pair.new),
        "max_abs": measure.max_abs if measure else None,
        # JSON knows no infinity: of equal pixels there is no PSNR.
        "psnr": measure.psnr if measure and measure.psnr is not None and math.isfinite(measure.psnr) else None,
        "ssim": measure.ssim if measure else None,
        "reasons": list(pair.reasons),
    }


def _side_tree(side: PictureSide | None) -> Json:
    return {**asdict(side), "file": side.file.as_posix() if side.file else None} if side else None


def diff_github(difference: Difference) -> str:
    """One notice for each change, at its line of the new file, and one for the images."""
    notices = []
    for change in difference.changes:
        entry, path = line(change), one_line(change.path)
        told = "".join(_marked(piece, None, mark=True) if change.words else piece.text for piece in entry.pieces)
        on_new = change.place is not None and change.place.new
        place = (change.place.path, change.place.line, change.place.column) if change.place and on_new else (("", 0, 0))
        notices.append(annotation("notice", f"{path} {change.what}", f"{path}: {told}", place))
    if difference.cost is not None:
        notices.append(annotation("notice", "images", _summary(difference), ("", 0, 0)))
    if difference.pairs:
        notices.append(annotation("notice", "images", verdicts(difference), ("", 0, 0)))
    return "".join(f"{notice}\n" for notice in notices)


def _summary(difference: Difference) -> str:
    if difference.cost is None:
        return ""
    why = _cut([f"{reason} ({count})" for _, reason, count in reasons(difference.cost)])
    held = " (provisional)" if difference.cost.provisional else ""
    return f"{counts(difference.cost)}{held}" + (f": {'; '.join(why)}" if why else "")
