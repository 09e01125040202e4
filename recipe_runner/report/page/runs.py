"""`report.html`: runs on one page, with a contact sheet of all their images and everything that is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe_runner.canonical import canonical
from recipe_runner.graph.changed_inputs import changes, flat
from recipe_runner.images.labels import TIMES, image_name, value_text
from recipe_runner.images.thumbnails import write_thumbnails
from recipe_runner.record.folder import DIGEST_LENGTH
from recipe_runner.record.manifest import ImageRecord, Manifest
from recipe_runner.record.names import RESOLVED
from recipe_runner.record.read_run import RecordedRun
from recipe_runner.report.page.render import LIBRARIES, embedded, link, render
from recipe_runner.report.page.section import Subject, section, warnings_of
from recipe_runner.report.page.sheet import Keys, sheet_of, table_of

SCRIPTS = (
    *LIBRARIES,
    "assets/page.js",
    "assets/comparison.js",
    "assets/viewer.js",
    "assets/sheet.js",
    "assets/start.js",
)
_TINY = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """An image as the sheet shows it: sizes are of what is shown, in CSS pixels."""

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
    """The page as UTF-8; thumbnails that it needs are made in the runs' folders.

    Args:
        subjects: the runs, in order.
        folder: where the page will lie: pictures are linked as seen from there.
        embed: put the pictures into the page instead, so that it can be sent.
    """
    runs = [subject.run for subject in subjects]
    names = [_name(run.manifest, several=len(runs) > 1) for run in runs]
    sheet = sheet_of(runs, names)
    cells: dict[Keys, Cell] = {}
    images: list[Mapping[str, Any]] = []
    asked: dict[bytes, tuple[int, Mapping[str, Any]]] = {}
    for number, run in enumerate(runs):
        thumbnails = {} if embed else write_thumbnails(run.folder, run.manifest.images)
        for keys, image in zip(sheet.at[number], run.manifest.images, strict=True):
            cell = _cell(len(images), run, image, folder, thumbnails.get(image.path, image.path), embed=embed)
            cells[keys] = cell
            said = _asked(run, image)
            place, _ = asked.setdefault(canonical(said), (len(asked), said))
            images.append(_data(cell, number, run, image, keys, place))
    table = table_of(sheet, cells)
    count = f"{len(images)} image{'' if len(images) == 1 else 's'}"
    data = {
        "axes": [
            {"id": axis.id, "name": axis.name, "values": [_value(value) for value in axis.values]}
            for axis in sheet.axes
        ],
        "rows": table.row_axes,
        "columns": table.column_axes,
        "images": images,
        "asked": [said for _, said in asked.values()],
        "runs": [
            {
                "resolved": link(run.folder / RESOLVED, folder) if run.resolved else None,
                "batched": run.manifest.environment.reproducibility == "fast",
            }
            for run in runs
        ],
    }
    return render(
        "report.html",
        SCRIPTS,
        title=", ".join(dict.fromkeys(run.manifest.name for run in runs)),
        summary=f"{count} · plan {', '.join(run.manifest.plan_digest[:DIGEST_LENGTH] for run in runs)}",
        warnings=list(dict.fromkeys(warning for run in runs for warning in warnings_of(run))),
        sheet=table,
        runs=[section(subject, name) for subject, name in zip(subjects, names, strict=True)],
        data=data,
    )


def _name(manifest: Manifest, *, several: bool) -> str:
    return f"{manifest.name} {manifest.plan_digest[:DIGEST_LENGTH]}" if several else manifest.name


def _value(value: Any) -> Mapping[str, str]:
    said = {"label": value.label, "text": value.text, "negative": value.negative}
    return {key: text for key, text in said.items() if text}


def _cell(number: int, run: RecordedRun, image: ImageRecord, folder: Path, thumbnail: str, *, embed: bool) -> Cell:
    # A whole number of times its size, so that every pixel of a tiny picture is a square; a large one as its thumbnail.
    longer = max(image.width, image.height)
    times = -(-_TINY // longer) if longer < _TINY else min(1, 256 / longer)
    elsewhere = " · other environment" if image.environment is not None else ""
    source = embedded(run.folder / image.path) if embed else link(run.folder / thumbnail, folder)
    return Cell(
        number=number,
        name=image_name(image.prompt, image.seed, image.variant),
        href="#" if embed else link(run.folder / image.path, folder),
        thumbnail=source,
        width=round(image.width * times),
        height=round(image.height * times),
        tiny=times > 1,
        caption=f"{image.width}{TIMES}{image.height} · {image.pixel_sha256[:DIGEST_LENGTH]}{elsewhere}",
        pixel_sha256=image.pixel_sha256,
    )


def _asked(run: RecordedRun, image: ImageRecord) -> Mapping[str, Mapping[str, str]]:
    said = run.asked(image)
    parts = {"texts": said.texts, "scales": said.scales, "sampling": said.sampling}
    return {part: {name: value_text(value) for name, value in values.items()} for part, values in parts.items()}


def _data(cell: Cell, number: int, run: RecordedRun, image: ImageRecord, keys: Keys, asked: int) -> Mapping[str, Any]:
    facts = {
        "size": f"{image.width}{TIMES}{image.height}",
        "node key": image.node_key,
        "file sha256": image.file_sha256,
        "pixel sha256": image.pixel_sha256,
    }
    if image.environment is not None:
        leaves = [flat("", part.model_dump(mode="json")) for part in (run.manifest.environment, image.environment)]
        facts["made elsewhere"] = "\n".join(change.removeprefix(".") for change in changes(*leaves))
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
