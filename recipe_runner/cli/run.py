"""`recipe-runner run`: make the images of a recipe."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from recipe_runner.cli.options import add_format, add_lock_use, add_quiet, add_recipe, add_runs, lock_use, may_fetch
from recipe_runner.cli.output import write_json, write_lines

EXAMPLES = """\
examples:
  recipe-runner run recipes/quickstart.yaml
  recipe-runner run recipes/quickstart.yaml --set sampling.num_inference_steps=10 --device cpu
  recipe-runner run recipes/quickstart.yaml --runs /tmp/try
  recipe-runner run recipes/quickstart.yaml --only star-1.png --runs /tmp/again

Images that exist already are not made again, and an interrupted run continues where it stopped.
Missing models are downloaded. A lock beside the recipe pins the sources that it covers.
The last line on stdout is the run folder.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_recipe(parser)
    add_runs(parser)
    add_format(parser, "human", "json")
    parser.add_argument(
        "--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N; the same as --set runtime.device=DEVICE"
    )
    add_lock_use(parser)
    parser.add_argument(
        "--only",
        metavar="IMAGE",
        help="make only this image, in a separate run; the same as --set for its prompt, seed and variant",
    )
    parser.add_argument("--wait", action="store_true", help="wait until another run of the same plan ends")
    verbosity = parser.add_mutually_exclusive_group()
    add_quiet(verbosity)
    verbosity.add_argument("-v", "--verbose", action="store_true", help="write a line for every image and reason")


def run(arguments: argparse.Namespace) -> int:
    """Make the images."""
    from recipe_runner.actions.prepare import PrepareOptions, prepare  # noqa: PLC0415 - imports pydantic
    from recipe_runner.actions.run import execute_plan  # noqa: PLC0415
    from recipe_runner.plan.one_image import only_overrides  # noqa: PLC0415
    from recipe_runner.report.terminal.meter import make_meter  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems  # noqa: PLC0415
    from recipe_runner.report.terminal.progress import make_progress  # noqa: PLC0415

    overrides = [*arguments.overrides]
    if arguments.device:
        overrides.append(f"runtime.device={arguments.device}")
    with make_meter(quiet=arguments.quiet) as meter:
        terms = PrepareOptions(network=may_fetch(arguments), lock=lock_use(arguments), meter=meter)
        prepared = prepare(arguments.recipe, overrides, terms)
        if arguments.only:
            overrides += only_overrides(prepared.document, prepared.plan, arguments.only)
            prepared = prepare(arguments.recipe, overrides, terms)
    print_problems(prepared.warnings, "human", file=sys.stderr)
    result = execute_plan(
        prepared,
        arguments.runs,
        wait=arguments.wait,
        make_progress=lambda total: make_progress(total, quiet=arguments.quiet, verbose=arguments.verbose),
    )
    if arguments.format == "json":
        answer = {
            "run_folder": result.folder.as_posix(),
            "plan_digest": result.plan_digest,
            "made": result.made,
            "reused": result.reused,
            "images": [f"images/{image.path}" for image in prepared.plan.images],
            "actions": [asdict(action) for action in result.actions],
            "warnings": list(result.warnings),
        }
        write_json(answer)
    else:
        if not arguments.quiet:
            sys.stderr.write(f"{result.made} made, {result.reused} reused\n")
        write_lines([result.folder.as_posix()])
    return 0
