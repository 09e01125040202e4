"""`recipe-runner report`: write one page about one or more runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from recipe_runner.cli.options import add_embed, add_format, complete_files
from recipe_runner.cli.output import write_json, write_lines

EXAMPLES = """\
examples:
  recipe-runner report runs/quickstart/0123456789ab
  recipe-runner report runs/lora-scale/* --output compare.html
  recipe-runner report runs/quickstart/0123456789ab --embed --output to-send.html

Every run writes its own report. The report of several runs shows them side by side on one sheet. The page opens from
disk and loads nothing from the network; it links to the image files, or contains them with --embed. Prints its path.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    complete_files(
        parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or their manifests")
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write (default: report.html in the run folder, or for several runs in the current folder)",
    )
    add_embed(parser)
    add_format(parser, "human", "json")


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    from recipe_runner.actions.write_views import report_of  # noqa: PLC0415 - imports pydantic, Pillow and jinja2
    from recipe_runner.disk.atomic import make_folder, write_file  # noqa: PLC0415
    from recipe_runner.record.names import MANIFEST, REPORT  # noqa: PLC0415
    from recipe_runner.record.seal import seal_again  # noqa: PLC0415

    folders = [path.parent if path.name == MANIFEST else path for path in arguments.runs]
    own = folders[0] / REPORT if len(folders) == 1 else Path(REPORT)
    output: Path = arguments.output or own
    page = report_of(folders, output.parent, embed=arguments.embed)
    make_folder(output.parent)
    write_file(output, page)
    if len(folders) == 1 and output.absolute() == own.absolute():
        seal_again(folders[0], REPORT, page)
    if arguments.format == "json":
        write_json({"path": output.as_posix()})
    else:
        write_lines([output.as_posix()])
    return 0
