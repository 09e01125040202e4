"""`recipe-runner verify`: whether a run is what its manifest says, and can be made again."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_format, add_offline, may_fetch

if TYPE_CHECKING:
    from collections.abc import Callable

    from recipe_runner.actions.verify import Origin
    from recipe_runner.record.manifest import Manifest
    from recipe_runner.report.verify import Again, Verified

EXAMPLES = """\
examples:
  recipe-runner verify runs/quickstart/4f0c2b9d8e7a              the files against the manifest
  recipe-runner verify runs/quickstart/4f0c2b9d8e7a --inputs     the weights against the run's lock too
  recipe-runner verify runs/quickstart/4f0c2b9d8e7a --rerun --images 'star-*.png'
  recipe-runner verify copied/4f0c2b9d8e7a --rerun --root ~/recipes

Exit status: 0 everything is as it was, or within tolerance; 1 something differs; 3 it could not be checked.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    run_folder = parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, wherever it lies")
    run_folder.complete = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}  # type: ignore[attr-defined]
    add_format(parser, "human", "json")
    parser.add_argument("--inputs", action="store_true", help="check the weights against the run's lock")
    parser.add_argument("--rerun", action="store_true", help="make the images again in a fresh process, and compare")
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="NAME",
        help="with --rerun: only these; `*` stands for anything",
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="the folder that the recipe lay in, for a run folder that was moved"
    )
    parser.add_argument("--device", metavar="DEVICE", help="with --rerun: auto, cpu, cuda or cuda:N")
    tolerance = parser.add_argument_group("tolerance, for images that are not identical")
    tolerance.add_argument(
        "--max-abs", type=_within(int, 0, 255), default=8, metavar="N", help="largest difference of 255 (default: 8)"
    )
    tolerance.add_argument(
        "--psnr", type=_within(float, 0, 1000), default=40.0, metavar="DB", help="least PSNR (default: 40)"
    )
    tolerance.add_argument(
        "--ssim", type=_within(float, -1, 1), default=0.99, metavar="S", help="least SSIM (default: 0.99)"
    )
    add_offline(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _within(kind: type[int | float], least: int, most: int) -> Callable[[str], float]:
    """Reads a number between two, inclusive."""

    def read(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            message = f"{text} is not from {least} to {most}"
            raise argparse.ArgumentTypeError(message)
        return value

    read.__name__ = "number"
    return read


def run(arguments: argparse.Namespace) -> int:
    """Check, and say what differs."""
    from recipe_runner.actions.verify import check_inputs, origin_of  # noqa: PLC0415
    from recipe_runner.record.verify import check_files, manifest_of  # noqa: PLC0415 - imports pydantic
    from recipe_runner.report.terminal.meter import make_meter  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems  # noqa: PLC0415
    from recipe_runner.report.verify import Verified, verified_json, verified_text  # noqa: PLC0415

    manifest = manifest_of(arguments.run)
    verified = Verified(run=arguments.run, files=check_files(arguments.run, manifest))
    if arguments.inputs or arguments.rerun:
        origin = origin_of(arguments.run, arguments.root)
        with make_meter(quiet=arguments.quiet) as meter:
            if arguments.inputs:
                verified.inputs, verified.problems = check_inputs(arguments.run, origin, meter)
        if arguments.rerun:
            verified.rerun = _rerun(arguments, origin, manifest)
    if arguments.format == "json":
        sys.stdout.write(verified_json(verified))
    else:
        print_problems(verified.problems, "human", file=sys.stderr)
        sys.stdout.write(verified_text(verified))
    return _status(verified)


def _rerun(arguments: argparse.Namespace, origin: Origin, manifest: Manifest) -> list[Again]:
    from recipe_runner.actions.verify import make_again, selected  # noqa: PLC0415
    from recipe_runner.images.similarity import Tolerance  # noqa: PLC0415

    may_fetch(arguments)
    images = selected(manifest, arguments.images)
    tolerance = Tolerance(max_abs=arguments.max_abs, psnr=arguments.psnr, ssim=arguments.ssim)
    with tempfile.TemporaryDirectory(prefix="recipe-runner-verify-") as out:
        return make_again(
            arguments.run,
            origin,
            manifest,
            images,
            Path(out),
            tolerance,
            device=arguments.device,
            quiet=arguments.quiet,
        )


def _status(verified: Verified) -> int:
    from recipe_runner.problems.codes import COULD_NOT, NO  # noqa: PLC0415

    if verified.differs:
        return NO
    return COULD_NOT if verified.problems else 0
