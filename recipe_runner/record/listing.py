"""List the runs below a folder, and the images of one run as rows, for people, programs and spreadsheets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.disk.inside import inside
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.record.journal import Journal
from recipe_runner.record.manifest import ImageRecord, Manifest, read_manifest
from recipe_runner.record.names import JOURNAL, MANIFEST, STORE, TELEMETRY
from recipe_runner.record.read_run import Asked, read_run
from recipe_runner.record.telemetry import read_telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run folder. `status` is complete, failed, unfinished (it was interrupted) or unreadable (see `fault`).

    `started` is the start of its last invocation, UTC in ISO 8601; None if unknown.
    """

    folder: Path
    name: str
    plan_digest: str
    status: str
    images: int
    device: str | None
    overrides: tuple[str, ...]
    started: str | None
    size_bytes: int
    fault: str | None = None


def find_runs(runs: Path) -> list[RunSummary]:
    """Every run below `runs`, by name and then by its last invocation."""
    found = [_summary(folder) for folder in run_folders(runs) if _is_run(folder)]
    return sorted(found, key=lambda run: (run.name, run.started or "", run.folder.name))


def run_folders(runs: Path) -> Iterator[Path]:
    """The folders below `runs` that runs can be in, sorted; those of the store are not."""
    for folder in sorted(runs.glob("*/*")):
        if folder.parent.name != STORE and folder.is_dir():
            yield folder


def _is_run(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() or (folder / JOURNAL).is_file()


def _summary(folder: Path) -> RunSummary:
    invocations = read_telemetry(folder / TELEMETRY)
    started = None
    if invocations:
        started = str(invocations[-1].get("started"))
    common: dict[str, Any] = {"folder": folder, "started": started, "size_bytes": _size(folder)}
    try:
        manifest = read_manifest(folder / MANIFEST)
    except RecipeRunnerError as error:
        status, fault = "unfinished", None
        if (folder / MANIFEST).is_file():
            status, fault = "unreadable", error.problems[0].message
        return RunSummary(
            **common,
            name=folder.parent.name,
            plan_digest=folder.name,
            status=status,
            images=_images_so_far(folder),
            device=None,
            overrides=(),
            fault=fault,
        )
    fault = None
    if manifest.failure is not None:
        fault = manifest.failure.message
    return RunSummary(
        **common,
        name=manifest.name,
        plan_digest=manifest.plan_digest,
        status=manifest.status,
        images=len(manifest.images),
        device=manifest.environment.device,
        overrides=manifest.overrides,
        fault=fault,
    )


def _size(folder: Path) -> int:
    """The bytes of all files in `folder`."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def journal_keys(folder: Path) -> set[str]:
    """Node keys of the finished images in a run's journal; none if it has no journal.

    Raises:
        RecordError: E802 the journal cannot be read, E805 it is a symbolic link out of the folder.
    """
    return {entry.node_key for entry in Journal(inside(folder, JOURNAL)).read()}


def _images_so_far(folder: Path) -> int:
    try:
        return len(journal_keys(folder))
    except RecipeRunnerError:
        return 0


def image_rows(run: Path) -> list[Mapping[str, Json]]:
    """One flat row for each image of the run folder `run`: its path, its inputs and its digests.

    Columns of axes and arguments have the names of their paths in the recipe: `sampling.guidance_scale`,
    `adapters.film.scale`.

    Raises:
        RecordError: E802 or E804, the manifest cannot be read or is not valid.
    """
    recorded = read_run(run)
    rows = [_row(image, recorded.asked(image), recorded.manifest) for image in recorded.manifest.images]
    empty: dict[str, Json] = {}
    for row in rows:
        empty |= dict.fromkeys(row)
    return [empty | row for row in rows]


def _row(image: ImageRecord, asked: Asked, manifest: Manifest) -> dict[str, Json]:
    environment = image.environment or manifest.environment
    row: dict[str, Json] = {"path": image.path, "prompt_id": image.prompt, "seed": image.seed}
    for axis, value in image.variant.items():
        row[axis] = _cell(value)
    for name, text in asked.texts.items():
        if isinstance(text, str):
            row.setdefault(name, text)
    for name, value in asked.sampling.items():
        row.setdefault(f"sampling.{name}", _cell(value))
    for name, scale in asked.scales.items():
        row.setdefault(f"adapters.{name}.scale", _cell(scale))
    row |= {"width": image.width, "height": image.height, "device": environment.device}
    return row | {
        "pixel_sha256": image.pixel_sha256,
        "file_sha256": image.file_sha256,
        "node_key": image.node_key,
        "plan_digest": manifest.plan_digest,
    }


def _cell(value: Json) -> Json:
    """A value that fits into one cell: a scalar as it is, anything else as JSON."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return json.dumps(value)
