"""Options that several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipe_runner.lock.compare import Use

_FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
_FOLDERS = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}


def complete_files(argument: argparse.Action) -> None:
    """Let shells complete this argument with file names."""
    argument.complete = _FILES  # type: ignore[attr-defined]


def complete_folders(argument: argparse.Action) -> None:
    """Let shells complete this argument with folder names."""
    argument.complete = _FOLDERS  # type: ignore[attr-defined]


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add the recipe and its overrides."""
    complete_files(parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe file"))
    add_overrides(parser)


def add_recipes(parser: argparse.ArgumentParser) -> None:
    """Add one recipe or several."""
    complete_files(parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help="recipe files"))


def add_run_folder(parser: argparse.ArgumentParser) -> None:
    """Add one run folder."""
    complete_folders(parser.add_argument("run", type=Path, metavar="RUN", help="run folder"))


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add `--set`."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="override a value of the recipe, for example `--set sampling.guidance_scale=5`; may be repeated",
    )


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the run folders and the image store."""
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="folder of all runs and their image store (default: runs)",
    )


def add_format(parser: argparse.ArgumentParser, *choices: str) -> None:
    """Add the output format; the first choice is the default."""
    parser.add_argument("--format", choices=choices, default=choices[0], help=f"output format (default: {choices[0]})")


def add_offline(parser: argparse.ArgumentParser) -> None:
    """Add `--offline`."""
    parser.add_argument("--offline", action="store_true", help="do not use the network; report what is missing")


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add `--force`."""
    parser.add_argument("--force", action="store_true", help="overwrite existing files")


def add_quiet(parser: argparse._ActionsContainer) -> None:
    """Add `--quiet`."""
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def add_embed(parser: argparse.ArgumentParser) -> None:
    """Add `--embed`."""
    parser.add_argument("--embed", action="store_true", help="embed the images, so that the page is one file to share")


def add_lock_use(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how to use the lock beside the recipe."""
    use = parser.add_mutually_exclusive_group()
    use.add_argument("--locked", action="store_true", help="fail if the lock is missing or does not cover the recipe")
    use.add_argument("--frozen", action="store_true", help="use the lock without checking whether it is current")
    add_offline(parser)


def lock_use(arguments: argparse.Namespace) -> Use:
    """The use of the lock that the options of `add_lock_use` ask for."""
    if arguments.locked:
        return "locked"
    if arguments.frozen:
        return "frozen"
    return "auto"


def may_fetch(arguments: argparse.Namespace) -> bool:
    """Whether the network may be used; with `--offline`, huggingface_hub is switched to offline mode too."""
    from recipe_runner.sources.access import is_online  # noqa: PLC0415 - not needed for help

    if arguments.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return is_online()
