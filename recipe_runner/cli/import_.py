"""`recipe-runner import`: write a recipe from an image or text of another program."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.cli.options import add_force, add_format, complete_files
from recipe_runner.cli.output import exit_status, write_json, write_lines, write_new
from recipe_runner.problems.place import NOWHERE, Place

if TYPE_CHECKING:
    from recipe_runner.exchange.importers.recipe_text import ImportContext, ImportedRecipe
    from recipe_runner.problems.problem import Problem

EXAMPLES = """\
examples:
  recipe-runner import image.png                           # print the recipe
  recipe-runner import image.png -o recipes/bear.yaml
  recipe-runner import images/*.png -o recipes/            # one recipe each
  recipe-runner import workflow.json --models ~/models     # find the models there by name or hash
  recipe-runner import - --base demo/model < parameters.txt

Reads the metadata of PNG, JPEG, WebP, AVIF and GIF images, and text files: parameters of A1111, Forge, SD.Next and
Civitai; API and workflow JSON of ComfyUI; InvokeAI; Fooocus; SwarmUI; NovelAI; diffusers-workflow. What a recipe cannot
express is listed on stderr and in comments of the recipe. Images made by recipe-runner give back their complete recipe.
"""
STDIN = "-"
"""The name of the standard input on the command line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    complete_files(
        parser.add_argument("files", nargs="+", metavar="FILE", help="images or text files; - reads the standard input")
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="recipe file to write, or a folder for several recipes"
    )
    add_force(parser)
    parser.add_argument("--base", metavar="MODEL", help="use this base model instead of the one in the text")
    parser.add_argument(
        "--models",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="look for the named weights files in this folder and its subfolders; may be repeated",
    )
    add_format(parser, "human", "json")


def run(arguments: argparse.Namespace) -> int:
    """Write or print a recipe for each file; a file that cannot be read does not stop the others."""
    from recipe_runner.problems.codes import USAGE  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems, problems_json  # noqa: PLC0415

    output: Path | None = arguments.output
    into_folder = output is not None and (len(arguments.files) > 1 or output.is_dir())
    mistake = _mistake(arguments, into_folder=into_folder)
    if mistake is not None:
        sys.stderr.write(f"{mistake}\n")
        return USAGE
    context = _context(arguments, _folder(output, into_folder=into_folder))
    targets = _Targets(output, into_folder=into_folder)
    problems: list[Problem] = []
    answers: list[dict[str, Any]] = []
    for name in arguments.files:
        answers += _import_one(name, context, targets, problems, force=arguments.force)
    if arguments.format == "json":
        write_json({"recipes": answers, **problems_json(problems)})
    else:
        _print(answers)
        print_problems(problems, "human", file=sys.stderr)
    return exit_status(problems)


def _mistake(arguments: argparse.Namespace, *, into_folder: bool) -> str | None:
    """What is wrong with the arguments, if anything is."""
    output = arguments.output
    if into_folder and output.exists() and not output.is_dir():
        return f"{output} is a file, but several recipes need a folder"
    missing = [str(folder) for folder in arguments.models if not folder.is_dir()]
    if missing:
        return f"--models: not a folder: {', '.join(missing)}"
    return None


def _folder(output: Path | None, *, into_folder: bool) -> Path:
    """The folder that the recipes are written to."""
    if output is None:
        return Path()
    return output if into_folder else output.parent


def _context(arguments: argparse.Namespace, folder: Path) -> ImportContext:
    from recipe_runner.exchange.importers.find_models import ModelFolders  # noqa: PLC0415
    from recipe_runner.exchange.importers.recipe_text import ImportContext  # noqa: PLC0415

    models = ModelFolders(tuple(arguments.models)) if arguments.models else None
    return ImportContext(folder=folder, base=arguments.base, models=models)


def _import_one(
    name: str, context: ImportContext, targets: _Targets, problems: list[Problem], *, force: bool
) -> Iterator[dict[str, Any]]:
    """Import a file, add its problems to `problems`, and give the recipe as `--format json` shows it."""
    from recipe_runner.problems.problem import Problem, RecipeRunnerError  # noqa: PLC0415

    shown = _shown(name)
    try:
        recipe = _import(name, context)
        target = targets.path_of(recipe)
        if target is not None:
            write_new(target, recipe.text, force=force, make_folder=targets.into_folder)
    except RecipeRunnerError as error:
        place = NOWHERE if name == STDIN else Place(shown)
        problems += error.at(place).problems
        return
    for sentence in recipe.lost:
        problems.append(Problem.at(Place(shown), "W850", f"not carried over: {sentence}", severity="warning"))
    yield {
        "source": shown,
        "program": recipe.program,
        "name": recipe.name,
        "path": target and target.as_posix(),
        "recipe": recipe.text,
        "lost": list(recipe.lost),
    }


def _import(name: str, context: ImportContext) -> ImportedRecipe:
    from recipe_runner.exchange.importers.importing import import_bytes  # noqa: PLC0415
    from recipe_runner.exchange.importers.read import LARGEST_IMAGE  # noqa: PLC0415
    from recipe_runner.problems.problem import Problem, ResolutionError  # noqa: PLC0415

    place = Place(_shown(name))
    try:
        data = _read(name, LARGEST_IMAGE + 1)
    except OSError as error:
        problem = Problem(code="E855", message=f"cannot be read: {error.strerror or error}", place=place)
        raise ResolutionError(problem) from error
    if len(data) > LARGEST_IMAGE:
        raise ResolutionError(Problem(code="E855", message=f"larger than {LARGEST_IMAGE:,} bytes", place=place))
    return import_bytes(data, "standard-input" if name == STDIN else name, context)


def _read(name: str, most: int) -> bytes:
    """The first `most` bytes of a file, or of the standard input."""
    if name == STDIN:
        return sys.stdin.buffer.read(most)
    with Path(name).open("rb") as file:
        return file.read(most)


def _shown(name: str) -> str:
    """A file name as valid UTF-8: on disk it can be any bytes."""
    return name.encode("utf-8", "replace").decode()


class _Targets:
    """The file that each recipe is written to; in a folder no two recipes share a file."""

    def __init__(self, output: Path | None, *, into_folder: bool) -> None:
        self.into_folder = into_folder
        self._output = output
        self._taken: set[Path] = set()

    def path_of(self, recipe: ImportedRecipe) -> Path | None:
        """The file for a recipe; None for stdout."""
        if self._output is None or not self.into_folder:
            return self._output
        number, path = 1, self._output / f"{recipe.name}.yaml"
        while path in self._taken:
            number += 1
            path = self._output / f"{recipe.name}-{number}.yaml"
        self._taken.add(path)
        return path


def _print(answers: list[dict[str, Any]]) -> None:
    """The recipes that were not written to a file, and the paths of those that were."""
    from recipe_runner.report.escape import Written  # noqa: PLC0415

    printed: list[str] = []
    paths: list[str] = []
    for answer in answers:
        if answer["path"] is None:
            printed.append(answer["recipe"])
        else:
            paths.append(answer["path"])
    sys.stdout.write(Written("---\n".join(printed)))
    write_lines(paths)
