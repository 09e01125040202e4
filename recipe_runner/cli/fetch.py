"""`recipe-runner fetch`: bring everything that a recipe needs onto this machine."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from recipe_runner.cli.options import add_format

EXAMPLES = """\
examples:
  recipe-runner fetch recipes/quickstart.yaml
  recipe-runner fetch recipes/*.yaml && recipe-runner run recipes/quickstart.yaml --offline

With a lock beside the recipe, exactly the files that it names are fetched, and each is proved by its sha256. Without
one, what a run would fetch.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    recipes = parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help="recipe files")
    recipes.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]
    add_format(parser, "human", "json")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> int:
    """Fetch, and say what each recipe has now."""
    from recipe_runner.actions.fetch import fetch_recipe  # noqa: PLC0415 - imports pydantic
    from recipe_runner.report.terminal.meter import make_meter, size_text  # noqa: PLC0415

    told: list[dict[str, Any]] = []
    for recipe in arguments.recipes:
        with make_meter(quiet=arguments.quiet) as meter:
            here = fetch_recipe(recipe, meter=meter)
        size = sum(file.size for files in here.values() for file in files)
        sources = {role: [file.name for file in files] for role, files in here.items()}
        told.append({"recipe": str(recipe), "sources": sources, "size_bytes": size})
        if arguments.format == "human":
            count = sum(len(files) for files in here.values())
            sources_text = "1 source" if len(here) == 1 else f"{len(here)} sources"
            sys.stdout.write(f"{recipe}: {sources_text}, {count} files, {size_text(size)}: all here\n")
    if arguments.format == "json":
        sys.stdout.write(json.dumps({"recipes": told}, indent=2) + "\n")
    return 0
