"""`recipe-runner plan`: show which images a recipe makes, which exist already, and why the others do not."""

from __future__ import annotations

import argparse
import sys

from recipe_runner.cli.options import add_format, add_recipe, add_runs

EXAMPLES = """\
examples:
  recipe-runner plan recipes/quickstart.yaml
  recipe-runner plan recipes/quickstart.yaml --set 'seeds=[1, 2, 3]'
  recipe-runner plan recipes/quickstart.yaml --format mermaid
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_recipe(parser)
    add_runs(parser)
    add_format(parser, "text", "json", "mermaid", "dot")
    parser.add_argument("-v", "--verbose", action="store_true", help="list every image")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan."""
    from recipe_runner.actions.prepare import PrepareOptions, prepare  # noqa: PLC0415 - imports pydantic
    from recipe_runner.plan.checks.preflight import fit_warnings  # noqa: PLC0415
    from recipe_runner.record.state import plan_state  # noqa: PLC0415
    from recipe_runner.report import plan as report  # noqa: PLC0415
    from recipe_runner.report.escape import Written  # noqa: PLC0415
    from recipe_runner.report.terminal.meter import make_meter  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems  # noqa: PLC0415

    with make_meter() as meter:
        prepared = prepare(arguments.recipe, arguments.overrides, PrepareOptions(meter=meter))
    plan = prepared.plan
    print_problems([*prepared.warnings, *fit_warnings(plan.recipe)], "human", file=sys.stderr)
    if arguments.format == "mermaid":
        sys.stdout.write(Written(report.plan_mermaid(plan)))
        return 0
    if arguments.format == "dot":
        sys.stdout.write(Written(report.plan_dot(plan)))
        return 0
    state = plan_state(plan, arguments.runs)
    if arguments.format == "json":
        sys.stdout.write(report.plan_json(plan, state))
    else:
        sys.stdout.write(report.plan_text(plan, state, every=arguments.verbose))
    return 0
