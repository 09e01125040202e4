"""`recipe-runner gc`: delete stored images that no run uses, and downloads that were not used for a while."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_format, add_runs
from recipe_runner.cli.output import write_json, write_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recipe_runner.record.gc import Garbage

EXAMPLES = """\
examples:
  recipe-runner gc                          show what would be deleted
  recipe-runner gc --delete
  recipe-runner gc --downloads --unused-days 90 --delete

gc never deletes runs: delete a run folder yourself, and gc then deletes the images that only this run used. Images
younger than an hour and files that are not named like the store's own are kept. If several folders of runs share a
store through a symbolic link, the runs of all of them count. To clean the Hugging Face cache, use `hf cache`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_runs(parser)
    add_format(parser, "human", "json")
    parser.add_argument("--delete", action="store_true", help="delete the files (default: only list them)")
    parser.add_argument(
        "--downloads", action="store_true", help="clean the downloads of URLs instead of the image store"
    )
    parser.add_argument(
        "--unused-days",
        type=float,
        default=30.0,
        metavar="N",
        help="with --downloads: minimum days since the last use (default: 30)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="list every file")


def run(arguments: argparse.Namespace) -> int:
    """List what can be deleted, and delete it if asked to."""
    from recipe_runner.record.gc import delete, download_garbage, store_garbage  # noqa: PLC0415

    if arguments.downloads:
        garbage = download_garbage(arguments.unused_days)
        where = "downloads"
    else:
        garbage = store_garbage(arguments.runs)
        where = Path(arguments.runs, "store").as_posix()
    if arguments.delete:
        delete(garbage)
    if arguments.format == "json":
        _print_json(garbage, deleted=arguments.delete)
        return 0
    if arguments.verbose:
        write_lines(f"{each.path.as_posix()}: {each.why}" for each in garbage)
    _print_total(garbage, where, deleted=arguments.delete)
    return 0


def _print_json(garbage: Sequence[Garbage], *, deleted: bool) -> None:
    files = [{"path": each.path.as_posix(), "size_bytes": each.size_bytes, "why": each.why} for each in garbage]
    write_json({"files": files, "size_bytes": _size(garbage), "deleted": deleted})


def _print_total(garbage: Sequence[Garbage], where: str, *, deleted: bool) -> None:
    from recipe_runner.problems.wording import counted  # noqa: PLC0415
    from recipe_runner.report.terminal.meter import size_text  # noqa: PLC0415

    done = "deleted" if deleted else "to delete"
    write_lines([f"{where}: {counted(len(garbage), 'file')} {done}, {size_text(_size(garbage))}"])
    if garbage and not deleted:
        sys.stderr.write("nothing was deleted; use --delete to delete them\n")


def _size(garbage: Sequence[Garbage]) -> int:
    return sum(each.size_bytes for each in garbage)
