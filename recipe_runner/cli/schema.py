"""`recipe-runner schema`: the JSON Schemas of recipes, locks and manifests."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recipe_runner.cli.options import add_format

EXAMPLES = """\
examples:
  recipe-runner schema                     print the schema of recipes
  recipe-runner schema manifest            print the schema of manifests
  recipe-runner schema --write schemas     write all files into a folder
  recipe-runner schema --check schemas     say whether the files there are current

An editor completes and explains recipes that start with the line
  # yaml-language-server: $schema=../schemas/recipe.v1.schema.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "name", nargs="?", choices=("recipe", "lock", "manifest"), default="recipe", help="which schema"
    )
    add_format(parser, "human", "json")
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--write", type=Path, metavar="DIR", help="write the schema files into this folder")
    actions.add_argument("--check", type=Path, metavar="DIR", help="say whether the schema files there are current")


def run(arguments: argparse.Namespace) -> int:
    """Print, write or compare."""
    from recipe_runner.problems.codes import NO  # noqa: PLC0415

    files = schema_files()
    if arguments.write is not None:
        arguments.write.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (arguments.write / name).write_text(text, encoding="utf-8")
        _tell("written", [str(arguments.write / name) for name in files], "", arguments.format)
        return 0
    if arguments.check is not None:
        stale = [name for name, text in files.items() if _read(arguments.check / name) != text]
        _tell("stale", [str(arguments.check / name) for name in stale], " is not current", arguments.format)
        return NO if stale else 0
    sys.stdout.write(files[f"{arguments.name}.v1.schema.json"])
    return 0


def _tell(what: str, paths: list[str], remark: str, output_format: str) -> None:
    if output_format == "json":
        sys.stdout.write(json.dumps({what: paths}, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{path}{remark}\n" for path in paths))


def schema_files() -> dict[str, str]:
    """Every schema file: its name, and its text as the types make it."""
    from recipe_runner.lock.file import Lock  # noqa: PLC0415
    from recipe_runner.recipe.schema.generate import schema_text  # noqa: PLC0415 - imports pydantic
    from recipe_runner.recipe.types.recipe import Recipe  # noqa: PLC0415
    from recipe_runner.record.manifest import Manifest  # noqa: PLC0415

    return {
        name: schema_text(model, name, f"recipe_runner {what}, format 1")
        for name, model, what in (
            ("recipe.v1.schema.json", Recipe, "recipe"),
            ("lock.v1.schema.json", Lock, "lock"),
            ("manifest.v1.schema.json", Manifest, "manifest"),
        )
    }


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
