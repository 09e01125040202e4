"""`recipe-runner validate`: every problem of every recipe, without touching a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_format, add_offline, add_overrides, may_fetch

if TYPE_CHECKING:
    from recipe_runner.problems.problem import Problem

EXAMPLES = """\
examples:
  recipe-runner validate recipes/quickstart.yaml
  recipe-runner validate recipes/
  recipe-runner validate recipes/quickstart.yaml --set sampling.guidance_scale=5
  recipe-runner validate recipes/ --format github
  recipe-runner validate recipes/ --weights

A folder stands for every .yaml and .yml file below it, except lock files. Needs no network, and never imports torch.
With --weights the headers of all weights files are read too, and every adapter that the text is right about is laid out
on its base. Of files that are not on this machine the headers alone are fetched, unless --offline or HF_HUB_OFFLINE
forbids it.
Problems go to stdout; what a code means is in `recipe-runner explain CODE`.
"""
_SUFFIXES = (".yaml", ".yml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    paths = parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="recipe files, or folders of them")
    paths.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]
    parser.add_argument(
        "--weights", action="store_true", help="also check adapters, components and prompts against the base's files"
    )
    add_offline(parser)
    add_overrides(parser)
    add_format(parser, "human", "json", "github")


def run(arguments: argparse.Namespace) -> int:
    """Check, print the problems, and return the gravest exit status."""
    from recipe_runner.problems.codes import CODES, USAGE  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems  # noqa: PLC0415

    recipes = list(recipes_in(arguments.paths))
    if not recipes:
        sys.stderr.write(f"there are no recipes in {', '.join(str(path) for path in arguments.paths)}\n")
        return USAGE
    problems = [problem for path in recipes for problem in _problems(path, arguments)]
    print_problems(problems, arguments.format, file=sys.stdout)
    errors = [problem for problem in problems if problem.severity == "error"]
    if arguments.format == "human":
        sys.stderr.write(_summary(len(recipes), len(errors), len(problems) - len(errors)))
    return max((CODES[problem.code].exit_status for problem in errors), default=0)


def _problems(path: Path, arguments: argparse.Namespace) -> Sequence[Problem]:
    """What is wrong with a recipe; weights are looked into as far as its text is right."""
    from recipe_runner.lock.unpinned import movable_sources  # noqa: PLC0415
    from recipe_runner.recipe.load import find_problems  # noqa: PLC0415

    found = find_problems(path, arguments.overrides, further=movable_sources)
    wrong = {problem.code for problem in found if problem.severity == "error"}
    if not arguments.weights or any(code < "E2" for code in wrong):
        return found
    from recipe_runner.actions.check_weights import weights_problems  # noqa: PLC0415 - imports pydantic

    further = weights_problems(path, arguments.overrides, network=may_fetch(arguments), valid=not wrong)
    return (*found, *(problem for problem in further if problem not in found))


def recipes_in(paths: Sequence[Path]) -> Sequence[Path]:
    """The recipes among files and folders: files as they are, folders' YAML files sorted by path."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = (file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
            found.extend(sorted(file for file in files if not file.stem.endswith(".lock")))
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _summary(recipes: int, errors: int, warnings: int) -> str:
    counts = [(recipes, "recipe"), (errors, "error"), (warnings, "warning")]
    shown = [f"{number} {what}{'' if number == 1 else 's'}" for number, what in counts]
    return f"{shown[0]}: {shown[1]}, {shown[2]}\n"
