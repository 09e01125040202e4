"""`recipe-runner lock`: pin every source of a recipe to its commit and its files' digests."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.cli.options import add_format, add_offline, may_fetch

if TYPE_CHECKING:
    from recipe_runner.problems.problem import Problem

EXAMPLES = """\
examples:
  recipe-runner lock recipes/quickstart.yaml          writes recipes/quickstart.lock.yaml
  recipe-runner lock recipes/*.yaml --check           1 when a lock is missing or stale, and why
  recipe-runner lock my.yaml --upgrade base           look up where the base's branch stands now
  recipe-runner lock my.yaml --upgrade all

What the lock pins already stays where it is, unless --upgrade names it: an entry (base, adapters.film), an adapter, the
`libraries`, or `all`. New sources are fetched, for their digests. Commit the lock beside the recipe.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    recipes = parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help="recipe files")
    recipes.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]
    add_format(parser, "human", "json")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="write nothing; say whether the locks are current")
    action.add_argument(
        "--upgrade", action="append", default=[], metavar="NAME", help="pin this entry anew; may be repeated"
    )
    add_offline(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> int:
    """Write the locks, or check them."""
    return _check(arguments) if arguments.check else _write(arguments)


def _write(arguments: argparse.Namespace) -> int:
    from recipe_runner.actions.lock import lock_recipe  # noqa: PLC0415 - imports pydantic
    from recipe_runner.report.terminal.meter import make_meter  # noqa: PLC0415

    network = may_fetch(arguments)
    told: list[dict[str, Any]] = []
    for recipe in arguments.recipes:
        with make_meter(quiet=arguments.quiet) as meter:
            written = lock_recipe(recipe, arguments.upgrade, offline=not network, meter=meter)
        told.append({"path": str(written.path), "changed": written.changed, "changes": list(written.changes)})
        if arguments.format == "human":
            sys.stderr.write("".join(f"{line}\n" for line in written.changes or ("nothing to change",)))
            sys.stderr.flush()
            sys.stdout.write(f"{written.path}\n")
    if arguments.format == "json":
        sys.stdout.write(json.dumps({"locks": told}, indent=2) + "\n")
    return 0


def _beside(recipe: Path) -> Path:
    return recipe.with_name(f"{recipe.stem}.lock.yaml")


def _check(arguments: argparse.Namespace) -> int:
    from recipe_runner.lock.current import stale_entries  # noqa: PLC0415
    from recipe_runner.problems.codes import NO  # noqa: PLC0415
    from recipe_runner.report.terminal.meter import make_meter  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems, problem_json  # noqa: PLC0415

    problems: list[Problem] = []
    told: list[dict[str, Any]] = []
    for recipe in arguments.recipes:
        with make_meter(quiet=arguments.quiet) as meter:
            found = stale_entries(recipe, meter)
        problems += found
        errors = [problem for problem in found if problem.severity == "error"]
        told.append({
            "path": str(_beside(recipe)),
            "current": not errors,
            "problems": [dict(problem_json(problem)) for problem in found],
        })  # fmt: skip
        if arguments.format == "human" and not errors:
            sys.stderr.write(f"{_beside(recipe)} is current\n")
    if arguments.format == "json":
        sys.stdout.write(json.dumps({"locks": told}, indent=2) + "\n")
    else:
        print_problems(problems, "human", file=sys.stdout)
    return NO if any(not each["current"] for each in told) else 0
