"""`recipe-runner runs`: what was made so far."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.cli.options import add_format, add_runs

if TYPE_CHECKING:
    from recipe_runner.record.listing import RunSummary

EXAMPLES = """\
examples:
  recipe-runner runs list
  recipe-runner runs show runs/quickstart/4f0c2b9d8e7a
  recipe-runner runs show runs/quickstart/4f0c2b9d8e7a --format csv > images.csv

`show` has a row for each image: its parameters by their paths in the recipe, and its digests.
"""
_WIDEST = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every run below a folder", epilog=EXAMPLES)
    add_runs(listing)
    add_format(listing, "human", "json")
    showing = actions.add_parser("show", help="the images of a run", epilog=EXAMPLES)
    folder = showing.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    folder.complete = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}  # type: ignore[attr-defined]
    add_format(showing, "human", "csv", "json")


def run(arguments: argparse.Namespace) -> int:
    """Print the runs, or the images of one."""
    from recipe_runner.record.listing import find_runs, image_rows  # noqa: PLC0415 - imports pydantic
    from recipe_runner.report.escape import Written, one_line  # noqa: PLC0415

    if arguments.action == "list":
        runs = find_runs(arguments.runs)
        if arguments.format == "json":
            told = [{**asdict(each), "folder": each.folder.as_posix()} for each in runs]
            sys.stdout.write(json.dumps({"runs": told}, indent=2) + "\n")
        else:
            sys.stdout.write("".join(f"{one_line(line)}\n" for line in _lines(runs)))
            if not runs:
                sys.stderr.write(f"there are no runs in {arguments.runs}\n")
        return 0
    rows = image_rows(arguments.run)
    if arguments.format == "json":
        sys.stdout.write(json.dumps({"images": rows}, indent=2) + "\n")
    elif arguments.format == "csv":
        sys.stdout.write(Written(_csv(rows)))
    else:
        sys.stdout.write("".join(f"{one_line(line)}\n" for line in _table(rows)))
    return 0


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    from recipe_runner.report.escape import csv_cell  # noqa: PLC0415

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in (rows[0] if rows else ["path"])])
    writer.writerows([csv_cell(value) for value in row.values()] for row in rows)
    return text.getvalue()


def _lines(runs: Sequence[RunSummary]) -> list[str]:
    from recipe_runner.report.terminal.meter import size_text  # noqa: PLC0415

    lines = []
    for each in runs:
        count = "1 image" if each.images == 1 else f"{each.images} images"
        parts = [each.status, count, size_text(each.size_bytes), each.started or "", each.device or ""]
        line = f"{each.folder.as_posix()}  {'  '.join(part for part in parts if part)}"
        lines.append(line + (f"  --set {' --set '.join(each.overrides)}" if each.overrides else ""))
        if each.fault:
            lines.append(f"  {each.fault}")
    return lines


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns that tell the rows apart, aligned; what all have in common stands above them."""
    if not rows:
        return ["no images"]
    hidden = ("file_sha256", "node_key", "plan_digest")
    varying = [name for name in rows[0] if name in ("path", "seed") or len({str(row[name]) for row in rows}) > 1]
    common = [name for name in rows[0] if name not in varying and name not in hidden]
    lines = [f"{name}: {rows[0][name]}" for name in common if rows[0][name] is not None]
    columns = [name for name in varying if name not in hidden]
    cells = [[_shown(name, row[name]) for name in columns] for row in rows]
    widths = [max(len(name), *(len(row[index]) for row in cells)) for index, name in enumerate(columns)]
    table = [columns, *cells]
    return [*lines, *(("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip() for row in table)]


def _shown(name: str, value: object) -> str:
    text = "" if value is None else str(value).replace("\n", " ")
    if name == "pixel_sha256":
        return text[:12]
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
