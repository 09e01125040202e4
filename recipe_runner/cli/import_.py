"""`recipe-runner import`: a recipe from a picture or text of another program."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.cli.options import add_format
from recipe_runner.problems.place import Place

if TYPE_CHECKING:
    from recipe_runner.exchange.importers.recipe_text import ImportContext, ImportedRecipe
    from recipe_runner.problems.problem import Problem

EXAMPLES = """\
examples:
  recipe-runner import picture.png                         # prints the recipe
  recipe-runner import picture.png -o recipes/bear.yaml
  recipe-runner import pictures/*.png -o recipes/          # one recipe each
  recipe-runner import workflow.json --models ~/models     # names the files that are there, by name or hash
  recipe-runner import - --base demo/model < parameters.txt

Our own pictures give back the whole recipe of the image, whatever adapters it has.
Reads the texts in PNG, JPEG, WebP, AVIF and GIF pictures, and text files: parameters of A1111, Forge, SD.Next and
Civitai; ComfyUI's API and workflow JSON; InvokeAI; Fooocus; SwarmUI; NovelAI; diffusers-workflow. What a recipe cannot
say is listed on stderr and in comments of the recipe.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    files = parser.add_argument(
        "files", nargs="+", metavar="FILE", help="pictures, or files with a text; - reads the standard input"
    )
    files.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="the recipe to write, or a folder for several"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    parser.add_argument("--base", metavar="MODEL", help="the base model to write, whatever the text names")
    parser.add_argument(
        "--models",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="search the weights files below this folder for those that are named; may be repeated",
    )
    add_format(parser, "human", "json")


def run(arguments: argparse.Namespace) -> int:
    """Write or print a recipe for each file; what cannot be read does not keep others from being read."""
    from recipe_runner.cli.files import write_new  # noqa: PLC0415
    from recipe_runner.exchange.importers.find_models import ModelFolders  # noqa: PLC0415
    from recipe_runner.exchange.importers.recipe_text import ImportContext  # noqa: PLC0415
    from recipe_runner.problems.codes import CODES, USAGE  # noqa: PLC0415
    from recipe_runner.problems.problem import RecipeRunnerError  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems  # noqa: PLC0415

    into_folder = arguments.output is not None and (len(arguments.files) > 1 or arguments.output.is_dir())
    if into_folder and arguments.output.exists() and not arguments.output.is_dir():
        sys.stderr.write(f"{arguments.output} is a file: several recipes need a folder\n")
        return USAGE
    if lacking := [folder for folder in arguments.models if not folder.is_dir()]:
        sys.stderr.write(f"--models: {', '.join(map(str, lacking))} is no folder\n")
        return USAGE
    folder = (arguments.output if into_folder else arguments.output.parent) if arguments.output else Path()
    context = ImportContext(
        folder=folder,
        base=arguments.base,
        models=ModelFolders(tuple(arguments.models)) if arguments.models else None,
    )
    problems: list[Problem] = []
    answers: list[dict[str, Any]] = []
    targets = _targets(arguments.output, into_folder=into_folder)
    for name in arguments.files:
        try:
            recipe = _import(name, context)
            target = targets(recipe)
            if target is not None:
                write_new(target, recipe.text, force=arguments.force, make_folder=into_folder)
        except RecipeRunnerError as error:
            problems += error.at(Place("" if name == "-" else _shown(name))).problems
            continue
        problems += _warnings(_shown(name), recipe)
        answers.append(
            {
                "source": _shown(name),
                "program": recipe.program,
                "name": recipe.name,
                "path": target and target.as_posix(),
                "recipe": recipe.text,
                "lost": list(recipe.lost),
            }
        )
    _print(answers, problems, arguments.format)
    if arguments.format != "json":
        print_problems(problems, "human", file=sys.stderr)
    return max((CODES[problem.code].exit_status for problem in problems if problem.severity == "error"), default=0)


def _import(name: str, context: ImportContext) -> ImportedRecipe:
    from recipe_runner.exchange.importers.importing import import_bytes  # noqa: PLC0415
    from recipe_runner.exchange.importers.read import LARGEST_PICTURE  # noqa: PLC0415
    from recipe_runner.problems.problem import Problem, ResolutionError  # noqa: PLC0415

    try:
        if name == "-":
            data = sys.stdin.buffer.read(LARGEST_PICTURE + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(LARGEST_PICTURE + 1)
    except OSError as error:
        problem = Problem(code="E855", message=f"cannot be read: {error.strerror or error}", place=Place(_shown(name)))
        raise ResolutionError(problem) from error
    if len(data) > LARGEST_PICTURE:
        raise ResolutionError(
            Problem(code="E855", message=f"larger than {LARGEST_PICTURE:,} bytes", place=Place(_shown(name)))
        )
    return import_bytes(data, "standard-input" if name == "-" else name, context)


def _shown(name: str) -> str:
    """A file's name as UTF-8 can write it: on disk it is any bytes."""
    return name.encode("utf-8", "replace").decode()


def _targets(output: Path | None, *, into_folder: bool) -> Any:
    """What each recipe is written to: None for the standard output, and never one file for two of them."""
    taken: set[Path] = set()

    def target(recipe: ImportedRecipe) -> Path | None:
        if output is None or not into_folder:
            return output
        number, path = 1, output / f"{recipe.name}.yaml"
        while path in taken:
            number += 1
            path = output / f"{recipe.name}-{number}.yaml"
        taken.add(path)
        return path

    return target


def _warnings(name: str, recipe: ImportedRecipe) -> Iterator[Problem]:
    from recipe_runner.problems.problem import Problem  # noqa: PLC0415

    for sentence in recipe.lost:
        yield Problem(code="W850", message=f"not carried over: {sentence}", place=Place(name), severity="warning")


def _print(answers: list[dict[str, Any]], problems: list[Problem], output_format: str) -> None:
    from recipe_runner.report.escape import Written  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import problems_json  # noqa: PLC0415

    if output_format == "json":
        json.dump({"recipes": answers, **problems_json(problems)}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    printed = [answer["recipe"] for answer in answers if answer["path"] is None]
    sys.stdout.write(Written("---\n".join(printed)))
    sys.stdout.write("".join(f"{answer['path']}\n" for answer in answers if answer["path"] is not None))
