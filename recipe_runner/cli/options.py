"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The recipe and its overrides."""
    recipe = parser.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe file")
    recipe.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """The overrides."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="override a value of the recipe, as in `--set sampling.guidance_scale=5`; may be repeated",
    )


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Where run folders and the image store are."""
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of the runs and their image store"
    )


def add_format(parser: argparse.ArgumentParser, *choices: str) -> None:
    """The output format; the first choice is the default."""
    parser.add_argument("--format", choices=choices, default=choices[0], help=f"output format (default: {choices[0]})")
