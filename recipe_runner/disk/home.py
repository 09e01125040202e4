"""The home folder. A process may have none, for instance in a container, a cron job or a service."""

from __future__ import annotations

import os
from pathlib import Path

NOWHERE = Path(os.devnull) / "home"
"""The home folder of a user without one: nothing is found in it, and nothing can be written."""


def home_folder() -> Path:
    """The user's home folder; `NOWHERE` without `HOME` and without an entry in the system's list of users."""
    try:
        return Path.home()
    except RuntimeError:
        return NOWHERE


def expanded(path: Path | str) -> Path:
    """`path` with `~` expanded to the home folder; unchanged if the user has none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
