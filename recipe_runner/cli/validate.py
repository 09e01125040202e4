"""`recipe-runner validate`: report every problem of every recipe, without loading a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_format, add_offline, add_overrides, complete_files, may_fetch
from recipe_runner.cli.output import errors_among, exit_status

if TYPE_CHECKING:
    from recipe_runner.problems.problem import Problem

EXAMPLES = """\
examples:
  recipe-runner validate recipes/quickstart.yaml
  recipe-runner validate recipes/
  recipe-runner validate recipes/quickstart.yaml --set sampling.guidance_scale=5
  recipe-runner validate recipes/ --format github
  recipe-runner validate recipes/ --weights

For a folder, checks every .yaml and .yml file in it and its subfolders, except lock files. Needs no network.
With --weights, also reads the headers of all weights files and checks that every adapter fits its base. For files that
are not on this machine, downloads only the headers, unless --offline or HF_HUB_OFFLINE forbids it.
Problems go to stdout; `recipe-runner explain CODE` explains a problem code.
"""
_SUFFIXES = (".yaml", ".yml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    complete_files(
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="recipe files, or folders of them")
    )
    parser.add_argument(
        "--weights", action="store_true", help="also check adapters, components and prompts against the weights files"
    )
    add_offline(parser)
    add_overrides(parser)
    add_format(parser, "human", "json", "github")


def run(arguments: argparse.Namespace) -> int:
    """Check the recipes, print their problems, and return the gravest exit status."""
    from recipe_runner.problems.codes import USAGE  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems  # noqa: PLC0415

    recipes = list(recipes_in(arguments.paths))
    if not recipes:
        sys.stderr.write(f"no recipes found in {', '.join(map(str, arguments.paths))}\n")
        return USAGE
    problems: list[Problem] = []
    for path in recipes:
        problems += _problems(path, arguments)
    print_problems(problems, arguments.format, file=sys.stdout)
    if arguments.format == "human":
        errors = len(errors_among(problems))
        sys.stderr.write(_summary(len(recipes), errors, len(problems) - errors))
    return exit_status(problems)


def _problems(path: Path, arguments: argparse.Namespace) -> Sequence[Problem]:
    """The problems of a recipe; weights are checked only if its text can be read."""
    from recipe_runner.lock.unpinned import movable_sources  # noqa: PLC0415
    from recipe_runner.recipe.load import find_problems  # noqa: PLC0415

    found = find_problems(path, arguments.overrides, further=movable_sources)
    errors = errors_among(found)
    is_readable = all(problem.code >= "E2" for problem in errors)
    if not arguments.weights or not is_readable:
        return found
    from recipe_runner.actions.check_weights import weights_problems  # noqa: PLC0415 - imports pydantic

    further = weights_problems(path, arguments.overrides, network=may_fetch(arguments), valid=not errors)
    return (*found, *(problem for problem in further if problem not in found))


def recipes_in(paths: Sequence[Path]) -> Sequence[Path]:
    """The recipes in files and folders: files as given, the YAML files of a folder sorted by path."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(filter(_is_recipe, path.rglob("*")))
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _is_recipe(file: Path) -> bool:
    return file.suffix in _SUFFIXES and not file.stem.endswith(".lock") and file.is_file()


def _summary(recipes: int, errors: int, warnings: int) -> str:
    from recipe_runner.problems.wording import counted  # noqa: PLC0415

    return f"{counted(recipes, 'recipe')}: {counted(errors, 'error')}, {counted(warnings, 'warning')}\n"
