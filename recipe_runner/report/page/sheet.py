"""The axes of a contact sheet, and the table that the page shows before any is moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from recipe_runner.canonical import Json, canonical
from recipe_runner.images.labels import axis_names, differing, value_text
from recipe_runner.record.read_run import RecordedRun

T = TypeVar("T")
Keys = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an axis; of a prompt also its texts, where they are the same in every variant."""

    label: str
    text: str = ""
    negative: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: `id` is a path of the recipe, `run`, `prompt` or `seed`."""

    id: str
    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A header over `count` rows or columns."""

    axis: Axis
    value: Value
    count: int


@dataclass(frozen=True, slots=True)
class Level:
    """The headers of one column axis."""

    axis: Axis
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """One row: the headers that begin at it, and its cells; None where there is no image."""

    head: tuple[Span, ...]
    cells: tuple[T | None, ...]


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """The sheet, ready to be written."""

    row_axes: tuple[int, ...]
    column_axes: tuple[int, ...]
    head: tuple[Level, ...]
    rows: tuple[Row[T], ...]
    caption: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """The axes of several runs' images, and the place of each image on them, by run and number within it."""

    axes: tuple[Axis, ...]
    at: tuple[tuple[Keys, ...], ...]


def sheet_of(runs: Sequence[RecordedRun], names: Sequence[str]) -> Sheet:
    """The axes: those of the runs' matrices, the runs, prompts, seeds."""
    paths = dict.fromkeys(axis for run in runs for image in run.manifest.images for axis in image.variant)
    short = axis_names(list(paths))
    places: dict[str, dict[bytes, int]] = {path: {} for path in (*paths, "run", "prompt", "seed")}
    values: dict[str, list[Value]] = {path: [] for path in places}

    def place(axis: str, key: Json, value: Value) -> int:
        number = places[axis].setdefault(canonical(key), len(values[axis]))
        if number == len(values[axis]):
            values[axis].append(value)
        return number

    prompts = _prompts(runs)
    labels = {path: _labels(runs, path) for path in paths}
    at: list[tuple[Keys, ...]] = []
    for number, run in enumerate(runs):
        rows: list[Keys] = []
        for image in run.manifest.images:
            keys: list[int] = []
            for path in paths:
                there = path in image.variant
                label = labels[path][canonical(image.variant[path])] if there else "—"
                keys.append(place(path, [there, image.variant.get(path)], Value(label)))
            keys.append(place("run", number, Value(names[number])))
            keys.append(place("prompt", image.prompt, prompts[image.prompt]))
            keys.append(place("seed", image.seed, Value(str(image.seed))))
            rows.append(tuple(keys))
        at.append(tuple(rows))
    axes = [Axis(path, short.get(path, path), tuple(found)) for path, found in values.items()]
    return Sheet(axes=tuple(axes), at=tuple(at))


def _prompts(runs: Sequence[RecordedRun]) -> Mapping[str, Value]:
    """Each prompt's label; its texts are part of it where all its images have the same."""
    texts: dict[str, dict[bytes, Value]] = {}
    for run in runs:
        for image in run.manifest.images:
            said = run.asked(image).texts
            value = Value(image.prompt, str(said.get("prompt") or ""), str(said.get("negative_prompt") or ""))
            texts.setdefault(image.prompt, {})[canonical(said)] = value
    return {prompt: next(iter(found.values())) if len(found) == 1 else Value(prompt) for prompt, found in texts.items()}


def table_of(sheet: Sheet, images: Mapping[Keys, T]) -> Table[T]:
    """The sheet before any axis is moved: variants and runs in columns, prompts and seeds in rows.

    Without variants seeds are the columns. An axis with one value is shown only where it is a prompt's.
    """
    several = [number for number, axis in enumerate(sheet.axes) if len(axis.values) > 1]
    prompt, seed = len(sheet.axes) - 2, len(sheet.axes) - 1
    columns = [number for number in several if number < prompt]
    rows = [prompt, seed] if columns else [prompt]
    columns = columns or [seed]
    row_keys, column_keys = _keys(images, rows), _keys(images, columns)
    by_key = {(_part(keys, rows), _part(keys, columns)): image for keys, image in images.items()}
    axes = sheet.axes
    return Table(
        row_axes=tuple(rows),
        column_axes=tuple(columns),
        head=tuple(
            Level(axes[axis], tuple(span for _, span in _spans(axes[axis], column_keys, level)))
            for level, axis in enumerate(columns)
        ),
        rows=tuple(_rows(axes, rows, row_keys, column_keys, by_key)),
        caption=", ".join(axes[axis].name for axis in (*rows, *columns)),
    )


def _rows(
    axes: Sequence[Axis],
    rows: Sequence[int],
    row_keys: Sequence[Keys],
    column_keys: Sequence[Keys],
    images: Mapping[tuple[Keys, Keys], T],
) -> Iterator[Row[T]]:
    begun = [dict(_spans(axes[axis], row_keys, level)) for level, axis in enumerate(rows)]
    for index, key in enumerate(row_keys):
        yield Row(
            head=tuple(spans[index] for spans in begun if index in spans),
            cells=tuple(images.get((key, column)) for column in column_keys),
        )


def _keys(images: Mapping[Keys, T], axes: Sequence[int]) -> list[Keys]:
    return sorted({_part(keys, axes) for keys in images})


def _part(keys: Keys, axes: Sequence[int]) -> Keys:
    return tuple(keys[axis] for axis in axes)


def _spans(axis: Axis, keys: Sequence[Keys], level: int) -> Iterator[tuple[int, Span]]:
    """Where each header of a level begins, and how far it reaches: as far as it and those above it stay the same."""
    start = 0
    for index in range(1, len(keys) + 1):
        if index == len(keys) or keys[index][: level + 1] != keys[start][: level + 1]:
            yield start, Span(axis, axis.values[keys[start][level]], index - start)
            start = index


def _labels(runs: Sequence[RecordedRun], path: str) -> Mapping[bytes, str]:
    """The labels of an axis's values, by the values' canonical form."""
    given = (image.variant[path] for run in runs for image in run.manifest.images if path in image.variant)
    values = {canonical(value): value for value in given}
    return dict(zip(values, map(value_text, differing(list(values.values()))), strict=True))
