"""`recipe-runner diff`: compare two recipes, locks or runs by meaning, and say which images change."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_embed, add_format, complete_files

if TYPE_CHECKING:
    from recipe_runner.diff.difference import Difference

EXAMPLES = """\
examples:
  recipe-runner diff old.yaml new.yaml
  recipe-runner diff HEAD~1:recipes/a.yaml recipes/a.yaml
  recipe-runner diff HEAD~1:recipes/a.lock.yaml recipes/a.lock.yaml
  recipe-runner diff runs/a/0123456789ab runs/a/ba9876543210 --format html --output diff.html
  recipe-runner diff HEAD:results/manifest.json results/manifest.json

to let `git diff` compare recipes, locks and manifests this way:
  git config diff.recipe.command 'recipe-runner diff --git'
  echo 'recipes/*.yaml diff=recipe' >> .gitattributes

A and B are files, run folders, or REVISION:PATH as in git. Paths in a recipe of an old revision are resolved from the
same folder in the working tree. Comments, layout and defaults written out explicitly do not count as differences.
Exit status: 0 the same, 1 different, 3 could not be compared.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    complete_files(parser.add_argument("sides", nargs="+", metavar="A B", help="two recipes, two locks or two runs"))
    add_format(parser, "human", "json", "markdown", "github", "html")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write to FILE; a page links images relative to it"
    )
    add_embed(parser)
    parser.add_argument(
        "--git",
        action="store_true",
        help="run as git's diff command: take the arguments that git passes, and always exit with status 0",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compare the two sides; the exit status says whether they are the same."""
    from recipe_runner.problems.codes import COULD_NOT, NO, USAGE  # noqa: PLC0415
    from recipe_runner.problems.problem import RecipeRunnerError  # noqa: PLC0415

    if arguments.git:
        from recipe_runner.cli.git_driver import answer  # noqa: PLC0415

        return answer(arguments.sides)
    if len(arguments.sides) != 2:  # noqa: PLR2004 - two sides
        sys.stderr.write("recipe-runner diff: needs exactly two things to compare\nTry `recipe-runner diff --help`.\n")
        return USAGE
    try:
        from recipe_runner.diff.compare import compare  # noqa: PLC0415 - imports pydantic
        from recipe_runner.diff.operand import read_side  # noqa: PLC0415
        from recipe_runner.diff.pinned_plan import pinned_plan  # noqa: PLC0415

        difference = compare(read_side(arguments.sides[0]), read_side(arguments.sides[1]), pinned_plan)
        _write(difference, arguments.format, arguments.output, embed=arguments.embed)
    except RecipeRunnerError as error:
        from recipe_runner.report.terminal.problems import print_problems  # noqa: PLC0415

        if arguments.debug:
            raise
        # Not 1, even for an invalid recipe: 1 would mean that the two were compared and differ.
        print_problems(error.problems, arguments.format)
        return COULD_NOT
    return 0 if difference.same else NO


def _write(difference: Difference, output_format: str, output: Path | None, *, embed: bool) -> None:
    from recipe_runner.report.terminal.colour import wants_colour  # noqa: PLC0415

    if output is None:
        colour = wants_colour(sys.stdout)
        sys.stdout.write(_text(difference, output_format, Path(), colour=colour, embed=embed))
        return
    from recipe_runner.disk.atomic import make_folder, write_file  # noqa: PLC0415

    text = _text(difference, output_format, output.parent, colour=False, embed=embed)
    make_folder(output.parent)
    write_file(output, text.encode("utf-8", "replace"))


def _text(difference: Difference, output_format: str, folder: Path, *, colour: bool, embed: bool) -> str:
    """The difference in a format; a page links images relative to `folder`."""
    from recipe_runner.report import diff  # noqa: PLC0415
    from recipe_runner.report.escape import Coloured, Escaped, Written  # noqa: PLC0415

    if output_format == "human":
        return Coloured(diff.diff_text(difference, colour=colour))
    if output_format == "json":
        return diff.diff_json(difference)
    if output_format == "markdown":
        from recipe_runner.report.diff_markdown import diff_markdown  # noqa: PLC0415

        return Written(diff_markdown(difference))
    if output_format == "github":
        return Escaped(diff.diff_github(difference))
    from recipe_runner.report.diff_html import diff_html  # noqa: PLC0415 - imports jinja2

    return Escaped(diff_html(difference, folder, embed=embed).decode())
