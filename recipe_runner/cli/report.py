"""`recipe-runner report`: recorded runs as one page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from recipe_runner.cli.options import add_format

EXAMPLES = """\
examples:
  recipe-runner report runs/quickstart/0123456789ab
  recipe-runner report runs/lora-scale/* --output compare.html
  recipe-runner report runs/quickstart/0123456789ab --embed --output to-send.html

Every run writes the report of itself. Several runs stand side by side on one sheet. The page opens from the disk and
fetches nothing; pictures are linked from where they lie, or put into the page with --embed. Prints where it is.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    runs = parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or their manifests")
    runs.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write (default: report.html in the run's folder, of several runs in the current one)",
    )
    parser.add_argument("--embed", action="store_true", help="put the pictures into the page, to send it")
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
    print(json.dumps({"path": output.as_posix()}) if arguments.format == "json" else output.as_posix())  # noqa: T201
    return 0
