"""The runs below a folder, and the images of one of them as rows: for people, programs and spreadsheets."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    """One run folder. `status` is complete, failed, unfinished (it was cut off) or unreadable (with a `fault`).

    `started` is when it was last at work, UTC in ISO 8601; None when it does not say.
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
    """Every run below `runs`, by name and then as they were last at work."""
    folders = [
        folder
        for folder in sorted(runs.glob("*/*"))
        if folder.parent.name != STORE and folder.is_dir() and any((folder / n).is_file() for n in (MANIFEST, JOURNAL))
    ]
    found = [_summary(folder) for folder in folders]
    return sorted(found, key=lambda run: (run.name, run.started or "", run.folder.name))


def _summary(folder: Path) -> RunSummary:
    told = read_telemetry(folder / TELEMETRY)
    started = str(told[-1].get("started")) if told else None
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    common: dict[str, Any] = {"folder": folder, "started": started, "size_bytes": size}
    try:
        manifest = read_manifest(folder / MANIFEST)
    except RecipeRunnerError as error:
        cut_off = not (folder / MANIFEST).is_file()
        return RunSummary(
            **common,
            name=folder.parent.name,
            plan_digest=folder.name,
            status="unfinished" if cut_off else "unreadable",
            images=_images_so_far(folder),
            device=None,
            overrides=(),
            fault=None if cut_off else error.problems[0].message,
        )
    return RunSummary(
        **common,
        name=manifest.name,
        plan_digest=manifest.plan_digest,
        status=manifest.status,
        images=len(manifest.images),
        device=manifest.environment.device,
        overrides=manifest.overrides,
        fault=manifest.failure.message if manifest.failure else None,
    )


def journal_keys(folder: Path) -> set[str]:
    """Node keys of the images that a run's journal says are whole; none where there is no journal.

    Raises:
        RecordError: E802 it cannot be read, E805 it is a symbolic link that leads out of the folder.
    """
    return {entry.node_key for entry in Journal(inside(folder, JOURNAL)).read()}


def _images_so_far(folder: Path) -> int:
    try:
        return len(journal_keys(folder))
    except RecipeRunnerError:
        return 0


def image_rows(run: Path) -> list[Mapping[str, Json]]:
    """One flat row for each image of the run folder `run`: where it lies, what was asked for, and its digests.

    Axes and arguments have columns by their paths in the recipe (`sampling.guidance_scale`, `adapters.film.scale`).

    Raises:
        RecordError: E802, E804 there is no manifest that can be read.
    """
    recorded = read_run(run)
    rows = [_row(image, recorded.asked(image), recorded.manifest) for image in recorded.manifest.images]
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _row(image: ImageRecord, asked: Asked, manifest: Manifest) -> Mapping[str, Json]:
    environment = image.environment or manifest.environment
    row: dict[str, Json] = {"path": image.path, "prompt_id": image.prompt, "seed": image.seed}
    row |= {name: _cell(value) for name, value in image.variant.items()}
    said: dict[str, Json] = {name: text for name, text in asked.texts.items() if isinstance(text, str)}
    said |= {f"sampling.{name}": _cell(value) for name, value in asked.sampling.items()}
    said |= {f"adapters.{name}.scale": _cell(scale) for name, scale in asked.scales.items()}
    row |= {name: value for name, value in said.items() if name not in row}
    row |= {"width": image.width, "height": image.height, "device": environment.device}
    return row | {
        "pixel_sha256": image.pixel_sha256,
        "file_sha256": image.file_sha256,
        "node_key": image.node_key,
        "plan_digest": manifest.plan_digest,
    }


def _cell(value: Json) -> Json:
    """A value that fits into one cell: a scalar as it is, anything else as JSON."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value)
