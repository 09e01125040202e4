"""The texts that every format of a difference shows, as pieces for the format to mark up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeGuard

from recipe_runner.canonical import Json
from recipe_runner.diff.difference import Change, Cost, Difference, Fate, ImagePair, Verdict, Word
from recipe_runner.images.labels import image_name
from recipe_runner.problems.wording import counted, written
from recipe_runner.report.escape import one_line
from recipe_runner.report.text import shortened

Sign = Literal["+", "-", "~"]
_LONGEST = 240
_DIGEST = 64
_SHORTEST_RANGE = 3
SIGNS: Mapping[str, Sign] = {"added": "+", "removed": "-"}
SHOWN = 20
"""Reasons and images that a text lists before it counts the rest."""
_VERBS: Mapping[Fate, str] = {"changes": "change", "stays": "stay", "appears": "appear", "vanishes": "vanish"}
"""The verb of each fate for several images."""


@dataclass(frozen=True, slots=True)
class Line:
    """One change: its sign, its path within its section, and its text in pieces."""

    sign: Sign
    path: str
    pieces: tuple[Word, ...]


def sections(changes: Sequence[Change]) -> Iterator[tuple[str, list[Line]]]:
    """The changes' lines, section by section."""
    for section, group in groupby(changes, key=lambda change: change.section):
        yield section, list(map(line, group))


def line(change: Change) -> Line:
    """The text of one change."""
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
        if change.what == "reordered":
            pieces = (Word(" ", "order "), *pieces)
    return Line(sign, path, pieces)


def shown(value: Json) -> str:
    """A value as a recipe writes it, on one line; lists of integers as ranges, digests and long texts cut."""
    if isinstance(value, list):
        if value and all(type(item) is int for item in value):
            return _ranges(value)
        if not any(isinstance(item, (list, Mapping)) for item in value):
            return one_line(", ".join(map(shown, value)))
    if _is_digest(value):
        return value[:12]
    if not isinstance(value, str) or not value:
        value = written(value)
    return shortened(one_line(value), _LONGEST)


def _is_digest(value: Json) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) == _DIGEST and set(value) <= set("0123456789abcdef")


def _ranges(numbers: Sequence[int]) -> str:
    """`1, 2, 5 to 9`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts: list[str] = []
    for run in runs:
        if len(run) >= _SHORTEST_RANGE:
            texts.append(f"{run[0]} to {run[-1]}")
        else:
            texts += map(str, run)
    return shortened(", ".join(texts), _LONGEST)


def verb(fate: Fate, count: int) -> str:
    """What `count` images do: `changes` for one, `change` for several."""
    if count == 1:
        return fate
    return _VERBS[fate]


def counts(cost: Cost) -> str:
    """`8 images change, 4 stay`, and what that costs."""
    parts: list[str] = []
    for fate, count in cost.count().items():
        if count:
            parts.append(f"{count} {verb(fate, count)}")
    if not parts:
        return "no images"
    number, _, rest = ", ".join(parts).partition(" ")
    text = f"{counted(int(number), 'image')} {rest}"
    if cost.to_make:
        text += f"; {counted(cost.to_make, 'image')} to make, {counted(cost.denoising_steps, 'denoising step')}"
    return text


def reasons(cost: Cost) -> Iterator[tuple[Fate, str, int]]:
    """Why images change, appear or vanish, and how many images each reason affects."""
    for (fate, reason), count in cost.reasons().items():
        yield fate, one_line(reason), count


def verdicts(difference: Difference) -> str:
    """`6 images: 4 identical, 2 different`."""
    order: tuple[Verdict, ...] = ("identical", "equal pixels", "different", "only in A", "only in B")
    found = [pair.verdict for pair in difference.pairs]
    if not found:
        return "no images"
    parts = [f"{found.count(verdict)} {verdict}" for verdict in order if verdict in found]
    return f"{counted(len(found), 'image')}: {', '.join(parts)}"


def name_of(pair: ImagePair) -> str:
    """`star, seed 1, outline.scale 0.5`."""
    return one_line(image_name(pair.prompt, pair.seed, pair.variant))


def measure_text(pair: ImagePair) -> str:
    """How much two images differ, or why that is not known."""
    measure = pair.measure
    if measure is None:
        if pair.verdict == "different":
            return "the image files are missing, so they cannot be compared"
        return ""
    if measure.max_abs is None or measure.psnr is None or measure.ssim is None:
        return measure.reason
    return f"max abs {measure.max_abs}, PSNR {measure.psnr:.1f} dB, SSIM {measure.ssim:.4f}"
