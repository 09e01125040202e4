"""`recipe-runner diff`: what differs between two recipes, locks or runs, by meaning, and what it costs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_format

if TYPE_CHECKING:
    from recipe_runner.diff.difference import Difference

EXAMPLES = """\
examples:
  recipe-runner diff old.yaml new.yaml
  recipe-runner diff HEAD~1:recipes/a.yaml recipes/a.yaml
  recipe-runner diff HEAD~1:recipes/a.lock.yaml recipes/a.lock.yaml
  recipe-runner diff runs/a/0123456789ab runs/a/ba9876543210 --format html --output diff.html
  recipe-runner diff HEAD:results/manifest.json results/manifest.json

as git's own diff of recipes, locks and manifests:
  git config diff.recipe.command 'recipe-runner diff --git'
  echo 'recipes/*.yaml diff=recipe' >> .gitattributes

A and B are files, run folders, or REVISION:PATH as git writes it; paths in a recipe of an old revision are looked up
from the same folder of the working tree. Comments, layout and defaults that are written out make no difference.
Exit status: 0 the same, 1 different, 3 they could not be compared.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    sides = parser.add_argument("sides", nargs="+", metavar="A B", help="two recipes, two locks or two runs")
    sides.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]
    add_format(parser, "human", "json", "markdown", "github", "html")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write to FILE; a page links pictures as seen from there"
    )
    parser.add_argument("--embed", action="store_true", help="put the pictures into the page, to send it")
    parser.add_argument(
        "--git",
        action="store_true",
        help="take the arguments that git gives to a diff command, and always leave with 0",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compare, and say by the exit status whether the two are the same."""
    from recipe_runner.problems.codes import COULD_NOT, NO, USAGE  # noqa: PLC0415
    from recipe_runner.problems.problem import RecipeRunnerError  # noqa: PLC0415

    if arguments.git:
        from recipe_runner.cli.git_driver import answer  # noqa: PLC0415

        return answer(arguments.sides)
    if len(arguments.sides) != 2:  # noqa: PLR2004 - two sides
        sys.stderr.write("recipe-runner diff: name two things to compare\nTry `recipe-runner diff --help`.\n")
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
        # An invalid recipe is no answer here: 1 would say that the two were compared and differ.
        print_problems(error.problems, arguments.format)
        return COULD_NOT
    return 0 if difference.same else NO


def _write(difference: Difference, output_format: str, output: Path | None, *, embed: bool) -> None:
    from recipe_runner.report import diff  # noqa: PLC0415
    from recipe_runner.report.escape import Coloured, Escaped, Written  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import wants_colour  # noqa: PLC0415

    text: str
    if output_format == "human":
        text = Coloured(diff.diff_text(difference, colour=output is None and wants_colour(sys.stdout)))
    elif output_format == "json":
        text = diff.diff_json(difference)
    elif output_format == "markdown":
        from recipe_runner.report.diff_markdown import diff_markdown  # noqa: PLC0415

        text = Written(diff_markdown(difference))
    elif output_format == "github":
        text = Escaped(diff.diff_github(difference))
    else:
        from recipe_runner.report.diff_html import diff_html  # noqa: PLC0415 - imports jinja2

        folder = output.parent if output else Path()
        text = Escaped(diff_html(difference, folder, embed=embed).decode())
    if output is None:
        sys.stdout.write(text)
    else:
        from recipe_runner.disk.atomic import make_folder, write_file  # noqa: PLC0415

        make_folder(output.parent)
        write_file(output, text.encode("utf-8", "replace"))
