"""The home folder, which a process need not have: in containers, cron jobs and services there may be none."""

from __future__ import annotations

import os
from pathlib import Path

NOWHERE = Path(os.devnull) / "home"
"""Stands for the home folder where there is none: nothing is found below it, and nothing can be written."""


def home_folder() -> Path:
    """The user's home folder; `NOWHERE` without `HOME` and without an entry in the system's list of users."""
    try:
        return Path.home()
    except RuntimeError:
        return NOWHERE


def expanded(path: Path | str) -> Path:
    """`path` with `~` as the home folder; as it is where that is nobody's."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
