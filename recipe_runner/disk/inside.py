"""Join a name from an untrusted document to a folder, so that the path never leads out of it.

A name is refused by its form, and a path by its symbolic links. The check does not defend against another process that
changes the path before the write: such a process can write there already.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError

_PART = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f]{1,255}"
FILE_PATTERN = rf"^(?![A-Za-z]:){_PART}(?:/{_PART})*$"
"""The form of a file name in a document: plain POSIX parts; no `.` or `..`, drive, backslash or control character."""
URL_FILE_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$"
"""The form of a download's file name."""
_PART_BYTES = 255
FORM = "A name has plain parts separated by `/`: no `..`, no backslash or control character, at most 255 bytes each."


def is_plain_path(name: str) -> bool:
    """Whether `name` has the form of a POSIX path that stays in the folder it is joined to."""
    if not re.fullmatch(FILE_PATTERN, name):
        return False
    try:
        return all(len(part.encode()) <= _PART_BYTES for part in name.split("/"))
    except UnicodeEncodeError:
        # Bytes that are not UTF-8, which a document cannot contain.
        return False


def inside(root: Path, name: str, *, replaced: bool = False) -> Path:
    """The path of the file `name` in `root`; no symbolic link on the path leads out of `root`.

    With `replaced` the last part may be a link, because a rename replaces the link itself.

    Raises:
        RecordError: E805.
    """
    if not is_plain_path(name):
        message = f"{name!r} is not a valid file name in {root}"
        raise RecordError(Problem(code="E805", message=message, place=Place(str(root)), hint=FORM))
    checked = PurePosixPath(name).parts
    if replaced:
        checked = checked[:-1]
    path = root
    for part in checked:
        path /= part
        # Unlike Path.is_symlink, this ignores paths without permission: nothing can be reached through them.
        if os.path.islink(path):  # noqa: PTH114
            _refuse_outside(root, path)
    return root / name


def _refuse_outside(root: Path, link: Path) -> None:
    target = Path(os.path.realpath(link))
    if target.is_relative_to(os.path.realpath(root)):
        return
    message = f"{link} is a symbolic link that leads out of {root}"
    hint = "Put the file or folder itself there: links out of the folder are not followed."
    raise RecordError(Problem(code="E805", message=message, place=Place(str(root)), hint=hint))
