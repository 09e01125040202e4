"""Runs folders that share one image store, through a symbolic link `store` to the store of another runs folder.

A run that uses a store through a link notes its runs folder in the store's folder `.users`, so that `gc` keeps the
images of all of them. Other ways to share a store, such as a mount or a link made by an older version, are not noted.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from recipe_runner.disk.atomic import make_folder, write_if_changed
from recipe_runner.disk.inside import inside
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError
from recipe_runner.record.names import STORE

_USERS = ".users"


def note_sharing(runs: Path) -> None:
    """Note `runs` in its store, if that is in another folder. Skip a read-only store: nothing can delete its images."""
    store = runs / STORE
    if not store.is_symlink():
        return
    place = os.fsencode(os.path.realpath(runs))
    with suppress(RecordError):
        note = inside(store, f"{_USERS}/{hashlib.sha256(place).hexdigest()[:32]}")
        make_folder(store)
        make_folder(note.parent)
        write_if_changed(note, place)


def sharing_folders(runs: Path) -> list[Path]:
    """The runs folders that use the store of `runs`: itself, the folder of the store, and all noted ones.

    Raises:
        RecordError: E813, a noted folder does not exist.
    """
    store = runs / STORE
    found = [runs]
    if store.is_symlink():
        found.append(Path(os.path.realpath(store)).parent)
    for note in sorted(inside(store, _USERS).glob("*")):
        folder = Path(os.fsdecode(note.read_bytes()))
        if not folder.is_dir():
            message = f"the store is shared with {folder}, which does not exist: cannot determine what its runs use"
            hint = f"Make the folder reachable. If it no longer exists anywhere, delete {note}."
            raise RecordError(Problem(code="E813", message=message, place=Place(str(store)), hint=hint))
        found.append(folder)
    return found
