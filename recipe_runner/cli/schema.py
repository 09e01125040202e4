"""`recipe-runner schema`: print, write or check the JSON Schemas of recipes, locks and manifests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from recipe_runner.cli.options import add_format
from recipe_runner.cli.output import write_json, write_lines

EXAMPLES = """\
examples:
  recipe-runner schema                     print the schema of recipes
  recipe-runner schema manifest            print the schema of manifests
  recipe-runner schema --write schemas     write all schema files to a folder
  recipe-runner schema --check schemas     exit with 1 if a schema file there is not current

Editors complete and document recipes that start with the line
  # yaml-language-server: $schema=../schemas/recipe.v1.schema.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "name",
        nargs="?",
        choices=("recipe", "lock", "manifest"),
        default="recipe",
        help="the schema to print (default: recipe)",
    )
    add_format(parser, "human", "json")
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--write", type=Path, metavar="DIR", help="write all schema files to this folder")
    actions.add_argument(
        "--check", type=Path, metavar="DIR", help="check whether the schema files in this folder are current"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print, write or compare the schemas."""
    files = schema_files()
    if arguments.write is not None:
        _write(files, arguments.write, arguments.format)
        return 0
    if arguments.check is not None:
        return _check(files, arguments.check, arguments.format)
    sys.stdout.write(files[f"{arguments.name}.v1.schema.json"])
    return 0


def _write(files: Mapping[str, str], folder: Path, output_format: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(str(path))
    if output_format == "json":
        write_json({"written": paths})
    else:
        write_lines(paths)


def _check(files: Mapping[str, str], folder: Path, output_format: str) -> int:
    from recipe_runner.problems.codes import NO  # noqa: PLC0415

    stale = []
    for name, text in files.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path))
    if output_format == "json":
        write_json({"stale": stale})
    else:
        write_lines(f"{path} is not current" for path in stale)
    return NO if stale else 0


def schema_files() -> dict[str, str]:
    """The text of every schema file, generated from the types, by its name."""
    from recipe_runner.lock.file import Lock  # noqa: PLC0415
    from recipe_runner.recipe.schema.generate import schema_text  # noqa: PLC0415 - imports pydantic
    from recipe_runner.recipe.types.recipe import Recipe  # noqa: PLC0415
    from recipe_runner.record.manifest import Manifest  # noqa: PLC0415

    files = {}
    for what, model in (("recipe", Recipe), ("lock", Lock), ("manifest", Manifest)):
        name = f"{what}.v1.schema.json"
        files[name] = schema_text(model, name, f"recipe_runner {what}, format 1")
    return files
