"""The axes of a contact sheet, and the table that the page shows first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from recipe_runner.canonical import Json, canonical
from recipe_runner.images.labels import axis_names, differing, value_text
from recipe_runner.record.manifest import ImageRecord
from recipe_runner.record.read_run import RecordedRun

T = TypeVar("T")
Keys = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an axis; for a prompt also its texts, if they are the same in every variant."""

    label: str
    text: str = ""
    negative: str = ""


@dataclass(frozen=True, slots=True)
class SheetAxis:
    """An axis: `id` is a path of the recipe, `run`, `prompt` or `seed`."""

    id: str
    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A header over `count` rows or columns."""

    axis: SheetAxis
    value: Value
    count: int


@dataclass(frozen=True, slots=True)
class Level:
    """The headers of one column axis."""

    axis: SheetAxis
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class SheetRow(Generic[T]):
    """One row: the headers that begin at it, and its cells; None for a missing image."""

    head: tuple[Span, ...]
    cells: tuple[T | None, ...]


@dataclass(frozen=True, slots=True)
class SheetTable(Generic[T]):
    """The sheet as rows and columns."""

    row_axes: tuple[int, ...]
    column_axes: tuple[int, ...]
    head: tuple[Level, ...]
    rows: tuple[SheetRow[T], ...]
    caption: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """The axes of the images of several runs, and the place of each image on them, by run and number in the run."""

    axes: tuple[SheetAxis, ...]
    at: tuple[tuple[Keys, ...], ...]


def sheet_of(runs: Sequence[RecordedRun], names: Sequence[str]) -> Sheet:
    """The axes: those of the matrices of all runs, then the runs, prompts and seeds."""
    images = [image for run in runs for image in run.manifest.images]
    paths = list(dict.fromkeys(chain.from_iterable(image.variant for image in images)))
    short = axis_names(paths)
    labels = {path: _labels(images, path) for path in paths}
    prompts = _prompts(runs)
    axes = _Axes([*paths, "run", "prompt", "seed"])
    at: list[tuple[Keys, ...]] = []
    for number, run in enumerate(runs):
        rows: list[Keys] = []
        for image in run.manifest.images:
            keys: list[int] = []
            for path in paths:
                has_value = path in image.variant
                label = labels[path][canonical(image.variant[path])] if has_value else "—"
                keys.append(axes.place(path, [has_value, image.variant.get(path)], Value(label)))
            keys.append(axes.place("run", number, Value(names[number])))
            keys.append(axes.place("prompt", image.prompt, prompts[image.prompt]))
            keys.append(axes.place("seed", image.seed, Value(str(image.seed))))
            rows.append(tuple(keys))
        at.append(tuple(rows))
    found = [SheetAxis(path, short.get(path, path), tuple(values)) for path, values in axes.values.items()]
    return Sheet(axes=tuple(found), at=tuple(at))


class _Axes:
    """The values of each axis in the order in which images first have them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.values: dict[str, list[Value]] = {name: [] for name in names}
        self._places: dict[tuple[str, bytes], int] = {}

    def place(self, axis: str, key: Json, value: Value) -> int:
        """The number of a value on its axis; `key` tells values apart."""
        values = self.values[axis]
        number = self._places.setdefault((axis, canonical(key)), len(values))
        if number == len(values):
            values.append(value)
        return number


def _prompts(runs: Sequence[RecordedRun]) -> Mapping[str, Value]:
    """The value of each prompt; it includes the texts if they are the same in all images."""
    texts: dict[str, dict[bytes, Value]] = {}
    for run in runs:
        for image in run.manifest.images:
            asked = run.asked(image).texts
            value = Value(image.prompt, str(asked.get("prompt") or ""), str(asked.get("negative_prompt") or ""))
            texts.setdefault(image.prompt, {})[canonical(asked)] = value
    values: dict[str, Value] = {}
    for prompt, found in texts.items():
        values[prompt] = next(iter(found.values())) if len(found) == 1 else Value(prompt)
    return values


def table_of(sheet: Sheet, images: Mapping[Keys, T]) -> SheetTable[T]:
    """The sheet before any axis is moved: variants and runs in columns, prompts and seeds in rows.

    Without variants seeds are the columns. An axis with one value is shown only if it is the prompt.
    """
    axes = sheet.axes
    prompt, seed = len(axes) - 2, len(axes) - 1
    rows = [prompt, seed]
    columns = [number for number, axis in enumerate(axes[:prompt]) if len(axis.values) > 1]
    if not columns:
        rows, columns = [prompt], [seed]
    by_key: dict[tuple[Keys, Keys], T] = {}
    row_set, column_set = set(), set()
    for keys, image in images.items():
        row, column = _part(keys, rows), _part(keys, columns)
        by_key[row, column] = image
        row_set.add(row)
        column_set.add(column)
    row_keys, column_keys = sorted(row_set), sorted(column_set)
    head = []
    for level, axis in enumerate(columns):
        spans = [span for _, span in _spans(axes[axis], column_keys, level)]
        head.append(Level(axes[axis], tuple(spans)))
    return SheetTable(
        row_axes=tuple(rows),
        column_axes=tuple(columns),
        head=tuple(head),
        rows=tuple(_rows(axes, rows, row_keys, column_keys, by_key)),
        caption=", ".join(axes[axis].name for axis in (*rows, *columns)),
    )


def _rows(
    axes: Sequence[SheetAxis],
    rows: Sequence[int],
    row_keys: Sequence[Keys],
    column_keys: Sequence[Keys],
    images: Mapping[tuple[Keys, Keys], T],
) -> Iterator[SheetRow[T]]:
    levels = [dict(_spans(axes[axis], row_keys, level)) for level, axis in enumerate(rows)]
    for index, key in enumerate(row_keys):
        head = [spans[index] for spans in levels if index in spans]
        cells = [images.get((key, column)) for column in column_keys]
        yield SheetRow(head=tuple(head), cells=tuple(cells))


def _part(keys: Keys, axes: Sequence[int]) -> Keys:
    return tuple(keys[axis] for axis in axes)


def _spans(axis: SheetAxis, keys: Sequence[Keys], level: int) -> Iterator[tuple[int, Span]]:
    """The start and length of each header of a level: it spans while its value and those above it stay the same."""
    start = 0
    for index in range(1, len(keys) + 1):
        if index == len(keys) or keys[index][: level + 1] != keys[start][: level + 1]:
            yield start, Span(axis, axis.values[keys[start][level]], index - start)
            start = index


def _labels(images: Sequence[ImageRecord], path: str) -> Mapping[bytes, str]:
    """The labels of the values of an axis, by the canonical form of each value."""
    values: dict[bytes, Json] = {}
    for image in images:
        if path in image.variant:
            values[canonical(image.variant[path])] = image.variant[path]
    labels = map(value_text, differing(list(values.values())))
    return dict(zip(values, labels, strict=True))
