"""Runs folders that share one image store, by a symbolic link `store` that leads to the store of another one.

A run that uses a store through a link notes its runs folder in the store's folder `.users`, so that deleting what no
run uses asks all of them. What reaches a store in another way (a mount, a link of a program of before) is not seen.
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
    """Note `runs` in its store, where that is another folder's. A store that cannot be written loses nothing to it."""
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
    """The runs folders that use the store of `runs`: itself, the one that the store lies in, and all that are noted.

    Raises:
        RecordError: E813 one that is noted is not there.
    """
    store = runs / STORE
    found = [runs]
    if store.is_symlink():
        found.append(Path(os.path.realpath(store)).parent)
    for note in sorted(inside(store, _USERS).glob("*")):
        folder = Path(os.fsdecode(note.read_bytes()))
        if not folder.is_dir():
            message = f"the store is shared with {folder}, which is not there: it cannot be known what its runs use"
            hint = f"Make the folder reachable; if it is gone for good, delete {note}."
            raise RecordError(Problem(code="E813", message=message, place=Place(str(store)), hint=hint))
        found.append(folder)
    return found
