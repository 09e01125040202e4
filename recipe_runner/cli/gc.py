"""`recipe-runner gc`: delete pictures of the store that no run uses, and downloads that nobody used for long."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recipe_runner.cli.options import add_format, add_runs

EXAMPLES = """\
examples:
  recipe-runner gc                          what would be deleted
  recipe-runner gc --delete
  recipe-runner gc --downloads --unused-days 90 --delete

Runs are never deleted: delete a run's folder, and gc deletes what only it used. Pictures younger than an hour are left
alone, and so are files that are not of the store's own form. Where several runs folders share a store by a symbolic
link, the runs of all that used it count. The Hub's cache is the Hub's own (`hf cache`).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_runs(parser)
    add_format(parser, "human", "json")
    parser.add_argument("--delete", action="store_true", help="do it; without this nothing is touched")
    parser.add_argument("--downloads", action="store_true", help="downloads of URLs, instead of the image store")
    parser.add_argument(
        "--unused-days",
        type=float,
        default=30.0,
        metavar="N",
        help="with --downloads: how long unused (default: 30)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="list every file")


def run(arguments: argparse.Namespace) -> int:
    """Say what may go, and delete it when asked to."""
    from recipe_runner.record.gc import delete, download_garbage, store_garbage  # noqa: PLC0415
    from recipe_runner.report.terminal.meter import size_text  # noqa: PLC0415

    downloads: bool = arguments.downloads
    garbage = download_garbage(arguments.unused_days) if downloads else store_garbage(arguments.runs)
    size = sum(each.size_bytes for each in garbage)
    if arguments.delete:
        delete(garbage)
    if arguments.format == "json":
        files = [{"path": each.path.as_posix(), "size_bytes": each.size_bytes, "why": each.why} for each in garbage]
        answer = {"files": files, "size_bytes": size, "deleted": bool(arguments.delete)}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return 0
    if arguments.verbose:
        sys.stdout.write("".join(f"{each.path.as_posix()}: {each.why}\n" for each in garbage))
    where = "downloads" if downloads else Path(arguments.runs, "store").as_posix()
    count = "1 file" if len(garbage) == 1 else f"{len(garbage)} files"
    done = "deleted" if arguments.delete else "to delete"
    sys.stdout.write(f"{where}: {count} {done}, {size_text(size)}\n")
    if garbage and not arguments.delete:
        sys.stderr.write("nothing was touched; --delete deletes them\n")
    return 0
