"""`recipe-runner runs`: list runs, and show the images of one."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.cli.options import add_format, add_run_folder, add_runs
from recipe_runner.cli.output import write_json

if TYPE_CHECKING:
    from recipe_runner.record.listing import RunSummary

EXAMPLES = """\
examples:
  recipe-runner runs list
  recipe-runner runs show runs/quickstart/4f0c2b9d8e7a
  recipe-runner runs show runs/quickstart/4f0c2b9d8e7a --format csv > images.csv

`show` prints a row for each image: its parameters, named by their paths in the recipe, and its digests.
"""
_WIDEST, _DIGEST = 60, 12
_HIDDEN = ("file_sha256", "node_key", "plan_digest")
"""Columns that only CSV and JSON have."""
_ALWAYS = ("path", "seed")
"""Columns that the table has even where all rows are the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list all runs in a folder", epilog=EXAMPLES)
    add_runs(listing)
    add_format(listing, "human", "json")
    showing = actions.add_parser("show", help="show the images of a run", epilog=EXAMPLES)
    add_run_folder(showing)
    add_format(showing, "human", "csv", "json")


def run(arguments: argparse.Namespace) -> int:
    """Print the runs, or the images of one run."""
    if arguments.action == "list":
        _list(arguments.runs, arguments.format)
    else:
        _show(arguments.run, arguments.format)
    return 0


def _list(folder: Path, output_format: str) -> None:
    from recipe_runner.record.listing import find_runs  # noqa: PLC0415 - imports pydantic
    from recipe_runner.report.text import text_of  # noqa: PLC0415

    runs = find_runs(folder)
    if output_format == "json":
        write_json({"runs": [{**asdict(each), "folder": each.folder.as_posix()} for each in runs]})
        return
    for each in runs:
        sys.stdout.write(text_of(_lines(each)))
    if not runs:
        sys.stderr.write(f"no runs found in {folder}\n")


def _lines(run: RunSummary) -> Iterator[str]:
    from recipe_runner.problems.wording import counted  # noqa: PLC0415
    from recipe_runner.report.terminal.meter import size_text  # noqa: PLC0415

    parts = [run.folder.as_posix(), run.status, counted(run.images, "image"), size_text(run.size_bytes)]
    parts += filter(None, (run.started, run.device))
    parts += [f"--set {override}" for override in run.overrides]
    yield "  ".join(parts)
    if run.fault:
        yield f"  {run.fault}"


def _show(folder: Path, output_format: str) -> None:
    from recipe_runner.record.listing import image_rows  # noqa: PLC0415 - imports pydantic
    from recipe_runner.report.escape import Written  # noqa: PLC0415
    from recipe_runner.report.text import text_of  # noqa: PLC0415

    rows = image_rows(folder)
    if output_format == "json":
        write_json({"images": rows})
    elif output_format == "csv":
        sys.stdout.write(Written(_csv(rows)))
    elif rows:
        sys.stdout.write(text_of(_table(rows)))
    else:
        sys.stdout.write("no images\n")


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    from recipe_runner.report.escape import csv_cell  # noqa: PLC0415

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names: Iterable[str] = ["path"]
    if rows:
        names = rows[0]
    writer.writerow(map(csv_cell, names))
    for row in rows:
        writer.writerow(map(csv_cell, row.values()))
    return text.getvalue()


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What all rows have in common, then an aligned table of the columns that differ."""
    columns: list[list[str]] = []
    for name, first in rows[0].items():
        if name in _HIDDEN:
            continue
        values = [row[name] for row in rows]
        if name in _ALWAYS or len(set(map(str, values))) > 1:
            columns.append(_column(name, values))
        elif first is not None:
            yield f"{name}: {first}"
    for line in zip(*columns, strict=True):
        yield "  ".join(line).rstrip()


def _column(name: str, values: Sequence[object]) -> list[str]:
    """The cells of a column below its name, all equally wide."""
    cells = [name, *(_cell(name, value) for value in values)]
    width = max(map(len, cells))
    return [cell.ljust(width) for cell in cells]


def _cell(name: str, value: object) -> str:
    from recipe_runner.report.text import shortened  # noqa: PLC0415

    if value is None:
        return ""
    text = str(value).replace("\n", " ")
    if name == "pixel_sha256":
        return text[:_DIGEST]
    return shortened(text, _WIDEST)
