"""`recipe-runner verify`: check a run against its manifest, and make its images again."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_format, add_offline, add_quiet, add_run_folder, may_fetch

if TYPE_CHECKING:
    from collections.abc import Callable

    from recipe_runner.actions.verify import RunOrigin
    from recipe_runner.record.manifest import Manifest
    from recipe_runner.report.verify import Again, Verified

EXAMPLES = """\
examples:
  recipe-runner verify runs/quickstart/4f0c2b9d8e7a              check the files against the manifest
  recipe-runner verify runs/quickstart/4f0c2b9d8e7a --inputs     also check the weights against the run's lock
  recipe-runner verify runs/quickstart/4f0c2b9d8e7a --rerun --images 'star-*.png'
  recipe-runner verify copied/4f0c2b9d8e7a --rerun --root ~/recipes

Exit status: 0 nothing differs, or only within tolerance; 1 something differs; 3 something could not be checked.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_run_folder(parser)
    add_format(parser, "human", "json")
    parser.add_argument("--inputs", action="store_true", help="also check the weights against the run's lock")
    parser.add_argument("--rerun", action="store_true", help="make the images again in a new process, and compare them")
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="NAME",
        help="with --rerun: only these images; may be patterns with `*`",
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="folder of the original recipe, if the run folder was moved"
    )
    parser.add_argument("--device", metavar="DEVICE", help="with --rerun: auto, cpu, cuda or cuda:N")
    tolerance = parser.add_argument_group("tolerance for images that are not identical")
    tolerance.add_argument(
        "--max-abs",
        type=_within(int, 0, 255),
        default=8,
        metavar="N",
        help="largest difference of a channel, 0 to 255 (default: 8)",
    )
    tolerance.add_argument(
        "--psnr", type=_within(float, 0, 1000), default=40.0, metavar="DB", help="smallest PSNR in dB (default: 40)"
    )
    tolerance.add_argument(
        "--ssim", type=_within(float, -1, 1), default=0.99, metavar="S", help="smallest SSIM (default: 0.99)"
    )
    add_offline(parser)
    add_quiet(parser)


def _within(kind: type[int | float], least: int, most: int) -> Callable[[str], float]:
    """A parser of numbers from `least` to `most`."""

    def read(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            message = f"{text} is not between {least} and {most}"
            raise argparse.ArgumentTypeError(message)
        return value

    read.__name__ = "number"
    return read


def run(arguments: argparse.Namespace) -> int:
    """Check the run, and print what differs."""
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


def _rerun(arguments: argparse.Namespace, origin: RunOrigin, manifest: Manifest) -> list[Again]:
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
