"""What every format says of a difference, as pieces of text that a format only has to dress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from recipe_runner.canonical import Json
from recipe_runner.diff.difference import Change, Cost, Difference, Fate, ImagePair, Verdict, Word
from recipe_runner.images.labels import image_name
from recipe_runner.problems.wording import written
from recipe_runner.report.escape import one_line

Sign = Literal["+", "-", "~"]
_LONGEST = 240
_DIGEST = 64
SIGNS: Mapping[str, Sign] = {"added": "+", "removed": "-"}
SHOWN = 20
"""Reasons and pictures that a text lists before it counts the rest."""


@dataclass(frozen=True, slots=True)
class Line:
    """One change: its sign, the path within its section, and what is said of it."""

    sign: Sign
    path: str
    pieces: tuple[Word, ...]


def sections(changes: Sequence[Change]) -> Iterator[tuple[str, list[Line]]]:
    """The changes' lines, section by section."""
    for section, group in groupby(changes, key=lambda change: change.section):
        yield section, [line(change) for change in group]


def line(change: Change) -> Line:
    """What is said of one change."""
    sign: Sign = SIGNS.get(change.what, "~")
    pieces: tuple[Word, ...]
    path = one_line(change.path.removeprefix(f"{change.section}."))
    if change.what == "added":
        pieces = (Word("+", shown(change.new)),)
    elif change.what == "removed":
        pieces = (Word("-", shown(change.old)),)
    elif change.what == "renamed":
        pieces = (Word(" ", "renamed from "), Word("-", shown(change.old)))
    elif change.words:
        pieces = tuple(Word(word.sign, one_line(word.text)) for word in change.words)
    else:
        pieces = (Word("-", shown(change.old)), Word(" ", " → "), Word("+", shown(change.new)))
        pieces = (Word(" ", "order "), *pieces) if change.what == "reordered" else pieces
    return Line(sign, path, pieces)


def shown(value: Json) -> str:
    """A value as a recipe writes it, on one line; lists of integers as ranges, digests and long texts cut."""
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        return _ranges(value)
    if isinstance(value, list) and all(not isinstance(item, (list, Mapping)) for item in value):
        return one_line(", ".join(shown(item) for item in value))
    if isinstance(value, str) and len(value) == _DIGEST and set(value) <= set("0123456789abcdef"):
        return value[:12]
    text = one_line(value if isinstance(value, str) and value else written(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _ranges(numbers: Sequence[int]) -> str:
    """`1, 2, 5 to 9`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    least = 3
    texts = [
        f"{run[0]} to {run[-1]}" if len(run) >= least else ", ".join(str(number) for number in run) for run in runs
    ]
    text = ", ".join(texts)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def counts(cost: Cost) -> str:
    """`8 images change, 4 stay`, and what that costs."""
    told = {"changes": "change", "stays": "stay", "appears": "appear", "vanishes": "vanish"}
    parts = [f"{count} {told[fate] if count != 1 else fate}" for fate, count in cost.count().items() if count]
    if not parts:
        return "no images"
    make = f"; {_number(cost.to_make, 'image')} to make, {_number(cost.denoising_steps, 'denoising step')}"
    first, *rest = parts
    number, fate = first.split(" ")
    return ", ".join([f"{_number(int(number), 'image')} {fate}", *rest]) + (make if cost.to_make else "")


def reasons(cost: Cost) -> Iterator[tuple[Fate, str, int]]:
    """Why images change, appear or vanish, and how many for each reason."""
    for (fate, reason), count in cost.reasons().items():
        yield fate, one_line(reason), count


def verdicts(difference: Difference) -> str:
    """`6 images: 4 identical, 2 different`."""
    order: tuple[Verdict, ...] = ("identical", "equal pixels", "different", "only in A", "only in B")
    found = [pair.verdict for pair in difference.pairs]
    parts = [f"{found.count(verdict)} {verdict}" for verdict in order if verdict in found]
    return f"{_number(len(found), 'image')}: {', '.join(parts)}" if parts else "no images"


def name_of(pair: ImagePair) -> str:
    """`star, seed 1, outline.scale 0.5`."""
    return one_line(image_name(pair.prompt, pair.seed, pair.variant))


def measure_text(pair: ImagePair) -> str:
    """How far two pictures are apart, or why nobody knows."""
    measure = pair.measure
    if measure is None:
        return "" if pair.verdict != "different" else "the pictures are not there to measure"
    if measure.max_abs is None or measure.psnr is None or measure.ssim is None:
        return measure.reason
    return f"max abs {measure.max_abs}, PSNR {measure.psnr:.1f} dB, SSIM {measure.ssim:.4f}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
