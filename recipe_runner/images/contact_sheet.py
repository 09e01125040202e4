"""The contact sheet: all images of a run on one labelled sheet, with prompts and seeds as rows, variants as columns."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, groupby
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from recipe_runner.canonical import Json, canonical
from recipe_runner.images.labels import axis_names, cut, drawable, heading, wrap
from recipe_runner.images.read import WRITTEN, UnreadableImage, open_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

LARGEST_SIDE = 8_000
"""The longest side of the sheet in pixels; rows and columns that do not fit are left out, with a note on the sheet."""

_LARGEST_CELL = 384
_SMALLEST_CELL = 48
_TINY = 160
"""Images whose longer side is shorter are enlarged by a whole number, so that pixels stay squares."""
_MARGIN, _GAP, _PAD = 28, 8, 14
_PROMPT_WIDTH = 230
_LINE = 1.35

_PAPER, _EMPTY = "#ffffff", "#f3f4f6"
_INK, _GREY, _RULE = "#1f2328", "#6b7280", "#d7dbe0"
# Styles of text: size in pixels and colour.
_TITLE, _ID, _VALUE, _SEED, _SMALL = (24, _INK), (16, _INK), (14, _INK), (13, _INK), (13, _GREY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: the images of a prompt and seed, one for each variant; None for a missing image."""

    prompt_id: str
    prompt: str
    seed: int
    images: Sequence[Path | None]


def contact_sheet(title: str, variants: Sequence[Mapping[str, Json]], rows: Sequence[Row]) -> bytes:
    """The contact sheet as a PNG file; the same images and texts give the same bytes.

    Args:
        title: the recipe's name.
        variants: the columns: the value of each matrix axis by its path, empty without a matrix.
        rows: the rows in order, those of a prompt together. An image that cannot be read is shown as missing.
    """
    sheet = _Layout(title, variants, rows)
    canvas = Image.new("RGB", sheet.size, _PAPER)
    pen = ImageDraw.Draw(canvas)
    sheet.draw_labels(pen)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        cells = list(sheet.cells())
        pictures = threads.map(sheet.fitted, [path for _, _, path in cells])
        for (left, top, _), picture in zip(cells, pictures, strict=True):
            box = (left, top, left + sheet.cell[0], top + sheet.cell[1])
            if picture is None:
                pen.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=_EMPTY)
                pen.line((*box[:2], *box[2:]), fill=_RULE)
            else:
                place = (left + (sheet.cell[0] - picture.width) // 2, top + (sheet.cell[1] - picture.height) // 2)
                canvas.paste(picture, place)
    file = BytesIO()
    canvas.save(file, "PNG", compress_level=4)
    return file.getvalue()


class _Layout:
    """The positions and sizes of everything on the sheet, in pixels."""

    def __init__(self, title: str, variants: Sequence[Mapping[str, Json]], rows: Sequence[Row]) -> None:
        self._fonts = {style: ImageFont.load_default(style[0]) for style in (_TITLE, _ID, _VALUE, _SEED, _SMALL)}
        self._axes: list[str] = []
        if variants:
            self._axes = list(variants[0])
        self._names = axis_names(self._axes)
        self._title = title
        longest_seed = max((self._measure(_SEED)(f"seed {row.seed}") for row in rows), default=0)
        self._left = _MARGIN + _PROMPT_WIDTH + round(longest_seed) + 2 * _PAD
        self._top = _MARGIN + 52 + 22 * len(self._axes)
        if self._axes:
            self._top += _GAP
        largest = _largest_picture(rows)
        room = (LARGEST_SIDE - self._left - _MARGIN, LARGEST_SIDE - self._top - _MARGIN - 30)
        self._scale = _scale(largest, room, (len(variants), len(rows)))
        self.cell = (max(1, round(largest[0] * self._scale)), max(1, round(largest[1] * self._scale)))
        # A row is never lower than its labels.
        self._pitch = (self.cell[0] + _GAP, max(self.cell[1], 36) + _GAP)
        self._variants = variants[: max(1, room[0] // self._pitch[0])]
        self._rows = rows[: max(1, room[1] // self._pitch[1])]
        self._left_out = len(variants) * len(rows) - len(self._variants) * len(self._rows)
        width = self._left + len(self._variants) * self._pitch[0] - _GAP + _MARGIN
        height = self._top + len(self._rows) * self._pitch[1] - _GAP + _MARGIN
        if self._left_out:
            height += 30
        self.size = (max(width, 480), height)

    def cells(self) -> Iterator[tuple[int, int, Path | None]]:
        """Left, top and image of each cell."""
        for y, row in enumerate(self._rows):
            for x, path in enumerate(row.images[: len(self._variants)]):
                yield self._left + x * self._pitch[0], self._top + y * self._pitch[1], path

    def fitted(self, path: Path | None) -> Image.Image | None:
        """The image at the sheet's scale; None if it is missing or cannot be read."""
        if path is None:
            return None
        try:
            with open_image(path, WRITTEN) as image:
                size = (max(1, round(image.width * self._scale)), max(1, round(image.height * self._scale)))
                picture = image.convert("RGB")
        except UnreadableImage:
            return None
        if self._scale >= 1:
            return picture.resize(size, Image.Resampling.NEAREST)
        return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)

    def draw_labels(self, pen: ImageDraw.ImageDraw) -> None:
        """Title, axes, prompts and seeds."""
        self._text(pen, (_MARGIN, _MARGIN - 4), self._title, self.size[0] - 2 * _MARGIN, _TITLE)
        self._draw_axes(pen)
        y = 0
        for _, group in groupby(self._rows, key=lambda row: (row.prompt_id, row.prompt)):
            rows = list(group)
            self._draw_prompt(pen, rows, self._top + y * self._pitch[1])
            y += len(rows)
        if self._left_out:
            note = f"{self._left_out} more images are in the folder and not on this sheet"
            self._text(pen, (_MARGIN, self.size[1] - _MARGIN - 12), note, self.size[0] - 2 * _MARGIN, _SMALL)

    def _draw_axes(self, pen: ImageDraw.ImageDraw) -> None:
        for level, axis in enumerate(self._axes):
            y = self._top - _GAP - 22 * (len(self._axes) - level)
            title, shown = heading(self._names[axis], [variant[axis] for variant in self._variants])
            name = cut(title, self._left - _MARGIN - _PAD, self._measure(_SMALL), keep_end=True)
            place = self._left - _PAD - round(self._measure(_SMALL)(name))
            self._text(pen, (place, y), name, self._left, _SMALL)
            # One label over all neighbouring columns that share this value and those of the axes above.
            outer = self._axes[: level + 1]
            keys = [_values_of(variant, outer) for variant in self._variants]
            x = 0
            for _, group in groupby(keys):
                count = len(list(group))
                left = self._left + x * self._pitch[0]
                width = count * self._pitch[0] - _GAP
                pen.line((left, y + 20, left + width - 1, y + 20), fill=_RULE)
                self._text(pen, (left + 1, y), shown[x], width - 2, _VALUE)
                x += count

    def _draw_prompt(self, pen: ImageDraw.ImageDraw, rows: Sequence[Row], top: int) -> None:
        height = len(rows) * self._pitch[1] - _GAP
        if top > self._top:
            pen.line((_MARGIN, top - _GAP // 2 - 1, self.size[0] - _MARGIN, top - _GAP // 2 - 1), fill=_RULE)
        self._text(pen, (_MARGIN, top), rows[0].prompt_id, _PROMPT_WIDTH, _ID)
        spacing = round(13 * _LINE)
        lines = max(0, (height - 22) // spacing)
        for number, line in enumerate(wrap(drawable(rows[0].prompt), _PROMPT_WIDTH, lines, self._measure(_SMALL))):
            self._text(pen, (_MARGIN, top + 23 + number * spacing), line, _PROMPT_WIDTH + 2, _SMALL)
        for number, row in enumerate(rows):
            place = (_MARGIN + _PROMPT_WIDTH + _PAD, top + number * self._pitch[1] + 2)
            self._text(pen, place, f"seed {row.seed}", self._left, _SEED)

    def _text(
        self, pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, style: tuple[int, str]
    ) -> None:
        # The end of an address is more specific than its beginning.
        line = cut(drawable(text), width, self._measure(style), keep_end="/" in text)
        pen.text(place, line, fill=style[1], font=self._fonts[style])

    def _measure(self, style: tuple[int, str]) -> Callable[[str], float]:
        return self._fonts[style].getlength


def _values_of(variant: Mapping[str, Json], axes: Sequence[str]) -> bytes:
    return canonical([variant[axis] for axis in axes])


def _largest_picture(rows: Sequence[Row]) -> tuple[int, int]:
    width, height = 0, 0
    for path in chain.from_iterable(row.images for row in rows):
        if path is None:
            continue
        try:
            with open_image(path, WRITTEN) as image:
                width, height = max(width, image.width), max(height, image.height)
        except UnreadableImage:
            continue
    if not width:
        return _TINY, _TINY
    return width, height


def _scale(largest: tuple[int, int], room: tuple[int, int], count: tuple[int, int]) -> float:
    """The factor by which all images are enlarged or reduced, so that the sheet is not larger than its limit."""
    longer = max(largest)
    most = min((side / max(1, number) - _GAP) / size for side, number, size in zip(room, count, largest, strict=True))
    wanted = min(1.0, _LARGEST_CELL / longer)
    if longer < _TINY:
        wanted = math.ceil(_TINY / longer)
    if wanted <= most:
        return float(wanted)
    # Keep enlarged pixels square if possible.
    if most >= 1:
        return float(int(most))
    return max(most, min(wanted, _SMALLEST_CELL / longer))
