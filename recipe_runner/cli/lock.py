"""`recipe-runner lock`: pin every source of a recipe to its commit and the sha256 of its files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.cli.options import add_format, add_offline, add_quiet, add_recipes, may_fetch
from recipe_runner.cli.output import errors_among, write_json, write_lines

if TYPE_CHECKING:
    from recipe_runner.problems.problem import Problem

EXAMPLES = """\
examples:
  recipe-runner lock recipes/quickstart.yaml          write recipes/quickstart.lock.yaml
  recipe-runner lock recipes/*.yaml --check           exit with 1 if a lock is missing or stale, and say why
  recipe-runner lock my.yaml --upgrade base           pin the latest commit of the base's branch
  recipe-runner lock my.yaml --upgrade all

Existing pins stay unless --upgrade names them: an entry (base, adapters.film), an adapter, `libraries`, or `all`.
New sources are downloaded to compute their sha256. Commit the lock together with the recipe.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_recipes(parser)
    add_format(parser, "human", "json")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="write nothing; report locks that are missing or stale")
    action.add_argument(
        "--upgrade", action="append", default=[], metavar="NAME", help="pin this entry again; may be repeated"
    )
    add_offline(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the locks, or check them."""
    if arguments.check:
        return _check(arguments)
    return _write(arguments)


def _write(arguments: argparse.Namespace) -> int:
    from recipe_runner.actions.lock import lock_recipe  # noqa: PLC0415 - imports pydantic
    from recipe_runner.report.terminal.meter import make_meter  # noqa: PLC0415

    network = may_fetch(arguments)
    locks: list[dict[str, Any]] = []
    for recipe in arguments.recipes:
        with make_meter(quiet=arguments.quiet) as meter:
            written = lock_recipe(recipe, arguments.upgrade, offline=not network, meter=meter)
        locks.append({"path": str(written.path), "changed": written.changed, "changes": list(written.changes)})
        if arguments.format == "human":
            sys.stderr.write("".join(f"{line}\n" for line in written.changes or ("nothing to change",)))
            sys.stderr.flush()
            write_lines([written.path])
    if arguments.format == "json":
        write_json({"locks": locks})
    return 0


def _beside(recipe: Path) -> Path:
    return recipe.with_name(f"{recipe.stem}.lock.yaml")


def _check(arguments: argparse.Namespace) -> int:
    from recipe_runner.lock.current import stale_entries  # noqa: PLC0415
    from recipe_runner.problems.codes import NO  # noqa: PLC0415
    from recipe_runner.report.terminal.meter import make_meter  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems, problem_json  # noqa: PLC0415

    problems: list[Problem] = []
    locks: list[dict[str, Any]] = []
    for recipe in arguments.recipes:
        with make_meter(quiet=arguments.quiet) as meter:
            found = stale_entries(recipe, meter)
        problems += found
        errors = errors_among(found)
        locks.append({
            "path": str(_beside(recipe)),
            "current": not errors,
            "problems": [dict(problem_json(problem)) for problem in found],
        })  # fmt: skip
        if arguments.format == "human" and not errors:
            sys.stderr.write(f"{_beside(recipe)} is current\n")
    if arguments.format == "json":
        write_json({"locks": locks})
    else:
        print_problems(problems, "human", file=sys.stdout)
    return 0 if all(each["current"] for each in locks) else NO
