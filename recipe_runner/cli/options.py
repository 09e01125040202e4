"""Options that several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipe_runner.lock.compare import Use


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


def add_offline(parser: argparse.ArgumentParser) -> None:
    """Whether anything may be fetched."""
    parser.add_argument("--offline", action="store_true", help="use no network; what is missing is told")


def add_lock_use(parser: argparse.ArgumentParser) -> None:
    """How the lock beside the recipe counts."""
    use = parser.add_mutually_exclusive_group()
    use.add_argument("--locked", action="store_true", help="refuse a lock that is missing or does not cover the recipe")
    use.add_argument(
        "--frozen", action="store_true", help="use the lock as it is, without asking whether it is current"
    )
    add_offline(parser)


def lock_use(arguments: argparse.Namespace) -> Use:
    """What `add_lock_use` was answered."""
    return "locked" if arguments.locked else "frozen" if arguments.frozen else "auto"


def may_fetch(arguments: argparse.Namespace) -> bool:
    """Whether the network may be used; when not, the libraries are told so too."""
    from recipe_runner.sources.access import is_online  # noqa: PLC0415 - not needed for help

    if arguments.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return is_online()
