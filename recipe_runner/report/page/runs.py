"""`report.html`: runs on one page, with a contact sheet of all images and everything known about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from recipe_runner.canonical import canonical
from recipe_runner.graph.changed_inputs import changes, flat
from recipe_runner.images.labels import TIMES, image_name
from recipe_runner.images.thumbnails import write_thumbnails
from recipe_runner.problems.wording import counted
from recipe_runner.record.folder import DIGEST_LENGTH
from recipe_runner.record.manifest import ImageRecord, Manifest
from recipe_runner.record.names import RESOLVED
from recipe_runner.record.read_run import RecordedRun
from recipe_runner.report.page.render import LIBRARIES, image_source, link, render, shown_size
from recipe_runner.report.page.section import Subject, section, value_texts, warnings_of
from recipe_runner.report.page.sheet import Keys, Sheet, SheetAxis, Value, sheet_of, table_of

SCRIPTS = (
    *LIBRARIES,
    "assets/page.js",
    "assets/comparison.js",
    "assets/viewer.js",
    "assets/sheet.js",
    "assets/start.js",
)
_SHOWN = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """An image on the sheet; width and height are those on the page, in CSS pixels."""

    number: int
    name: str
    href: str
    thumbnail: str
    width: int
    height: int
    tiny: bool
    caption: str
    pixel_sha256: str


def report_html(subjects: Sequence[Subject], folder: Path, *, embed: bool = False) -> bytes:
    """The page as UTF-8; missing thumbnails are made in the run folders.

    Args:
        subjects: the runs, in order.
        folder: the folder of the page; links to images are relative to it.
        embed: embed the images in the page, so that it is one file to share.
    """
    runs: list[RecordedRun] = []
    names: list[str] = []
    digests: list[str] = []
    titles: dict[str, None] = {}
    for subject in subjects:
        manifest = subject.run.manifest
        runs.append(subject.run)
        names.append(_name(manifest, several=len(subjects) > 1))
        digests.append(manifest.plan_digest[:DIGEST_LENGTH])
        titles[manifest.name] = None
    sheet = sheet_of(runs, names)
    cells, images, asked = _cells(runs, sheet, folder, embed=embed)
    table = table_of(sheet, cells)
    return render(
        "report.html",
        SCRIPTS,
        title=", ".join(titles),
        summary=f"{counted(len(images), 'image')} · plan {', '.join(digests)}",
        warnings=list(dict.fromkeys(chain.from_iterable(map(warnings_of, runs)))),
        sheet=table,
        runs=list(map(section, subjects, names)),
        data={
            "axes": list(map(_axis_data, sheet.axes)),
            "rows": table.row_axes,
            "columns": table.column_axes,
            "images": images,
            "asked": asked,
            "runs": [_run_data(run, folder) for run in runs],
        },
    )


def _cells(
    runs: Sequence[RecordedRun], sheet: Sheet, folder: Path, *, embed: bool
) -> tuple[dict[Keys, Cell], list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The cells of the sheet, the data of each image, and the different requests that the data refer to by number."""
    cells: dict[Keys, Cell] = {}
    images: list[Mapping[str, Any]] = []
    requests: dict[bytes, Mapping[str, Any]] = {}
    numbers: dict[bytes, int] = {}
    for number, run in enumerate(runs):
        thumbnails = {} if embed else write_thumbnails(run.folder, run.manifest.images)
        for keys, image in zip(sheet.at[number], run.manifest.images, strict=True):
            cell = _cell(len(images), run, image, folder, thumbnails.get(image.path, image.path), embed=embed)
            cells[keys] = cell
            request = _request(run, image)
            key = canonical(request)
            requests.setdefault(key, request)
            asked = numbers.setdefault(key, len(numbers))
            images.append(_data(cell, number, run, image, keys, asked))
    return cells, images, list(requests.values())


def _name(manifest: Manifest, *, several: bool) -> str:
    if several:
        return f"{manifest.name} {manifest.plan_digest[:DIGEST_LENGTH]}"
    return manifest.name


def _axis_data(axis: SheetAxis) -> Mapping[str, Any]:
    return {"id": axis.id, "name": axis.name, "values": list(map(_value_data, axis.values))}


def _value_data(value: Value) -> Mapping[str, str]:
    texts = {"label": value.label, "text": value.text, "negative": value.negative}
    return {key: text for key, text in texts.items() if text}


def _run_data(run: RecordedRun, folder: Path) -> Mapping[str, Any]:
    return {
        "resolved": link(run.folder / RESOLVED, folder) if run.resolved else None,
        "batched": run.manifest.environment.reproducibility == "fast",
    }


def _cell(number: int, run: RecordedRun, image: ImageRecord, folder: Path, thumbnail: str, *, embed: bool) -> Cell:
    shown = shown_size(image.width, image.height, _SHOWN)
    caption = f"{image.width}{TIMES}{image.height} · {image.pixel_sha256[:DIGEST_LENGTH]}"
    if image.environment is not None:
        caption += " · other environment"
    return Cell(
        number=number,
        name=image_name(image.prompt, image.seed, image.variant),
        href="#" if embed else link(run.folder / image.path, folder),
        thumbnail=image_source(run.folder / thumbnail, folder, embed=embed),
        width=shown.width,
        height=shown.height,
        tiny=shown.is_enlarged,
        caption=caption,
        pixel_sha256=image.pixel_sha256,
    )


def _request(run: RecordedRun, image: ImageRecord) -> Mapping[str, Mapping[str, str]]:
    """What the recipe asks for in an image."""
    asked = run.asked(image)
    return {
        "texts": value_texts(asked.texts),
        "scales": value_texts(asked.scales),
        "sampling": value_texts(asked.sampling),
    }


def _data(cell: Cell, number: int, run: RecordedRun, image: ImageRecord, keys: Keys, asked: int) -> Mapping[str, Any]:
    facts = {
        "size": f"{image.width}{TIMES}{image.height}",
        "node key": image.node_key,
        "file sha256": image.file_sha256,
        "pixel sha256": image.pixel_sha256,
    }
    if image.environment is not None:
        before = flat("", run.manifest.environment.model_dump(mode="json"))
        after = flat("", image.environment.model_dump(mode="json"))
        facts["made elsewhere"] = "\n".join(change.removeprefix(".") for change in changes(before, after))
    return {
        "number": cell.number,
        "run": number,
        "at": keys,
        "name": cell.name,
        "file": image.path.removeprefix("images/"),
        "href": None if cell.href == "#" else cell.href,
        "size": [image.width, image.height],
        "asked": asked,
        "facts": facts,
    }
