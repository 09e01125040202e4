"""`recipe-runner fetch`: download everything that a recipe needs."""

from __future__ import annotations

import argparse
from typing import Any

from recipe_runner.cli.options import add_format, add_quiet, add_recipes
from recipe_runner.cli.output import write_json, write_lines

EXAMPLES = """\
examples:
  recipe-runner fetch recipes/quickstart.yaml
  recipe-runner fetch recipes/*.yaml && recipe-runner run recipes/quickstart.yaml --offline

With a lock beside the recipe, fetches exactly the files in the lock and checks the sha256 of each. Without a lock,
fetches what a run would fetch.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_recipes(parser)
    add_format(parser, "human", "json")
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fetch, and print what each recipe uses."""
    from recipe_runner.actions.fetch import fetch_recipe  # noqa: PLC0415 - imports pydantic
    from recipe_runner.problems.wording import counted  # noqa: PLC0415
    from recipe_runner.report.terminal.meter import make_meter, size_text  # noqa: PLC0415

    fetched: list[dict[str, Any]] = []
    for recipe in arguments.recipes:
        with make_meter(quiet=arguments.quiet) as meter:
            here = fetch_recipe(recipe, meter=meter)
        count = size = 0
        sources: dict[str, list[str]] = {}
        for role, files in here.items():
            sources[role] = [file.name for file in files]
            count += len(files)
            size += sum(file.size for file in files)
        fetched.append({"recipe": str(recipe), "sources": sources, "size_bytes": size})
        if arguments.format == "human":
            found = f"{counted(len(here), 'source')}, {counted(count, 'file')}, {size_text(size)}"
            write_lines([f"{recipe}: {found}: all here"])
    if arguments.format == "json":
        write_json({"recipes": fetched})
    return 0
