"""The one place that says where a file below a folder lies: names that strangers write never lead out of it.

A name is refused by its form, and a path by the symbolic links on it. What another process changes between this check
and the write is not defended against: who can do that can write there already.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError

_PART = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f]{1,255}"
FILE_PATTERN = rf"^(?![A-Za-z]:){_PART}(?:/{_PART})*$"
"""The form of a file's name in a document: plain POSIX parts; no `.` or `..`, drive, backslash or control character."""
URL_FILE_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$"
"""The form of the name that a download gets."""
_PART_BYTES = 255
FORM = "A name has plain parts with `/` between: no `..`, no backslash or control character, at most 255 bytes each."


def is_plain_path(name: str) -> bool:
    """Whether `name` has the form of a POSIX path that stays below the folder it is joined to."""
    if not re.fullmatch(FILE_PATTERN, name):
        return False
    try:
        return all(len(part.encode()) <= _PART_BYTES for part in name.split("/"))
    except UnicodeEncodeError:
        # Bytes that are not UTF-8, which no document can hold.
        return False


def inside(root: Path, name: str, *, replaced: bool = False) -> Path:
    """Where the file called `name` below `root` lies; no symbolic link on the way leads out of `root`.

    With `replaced` the last part may be a link itself, as a rename puts the file in the link's place.

    Raises:
        RecordError: E805.
    """
    if not is_plain_path(name):
        message = f"{name!r} is not the name of a file in {root}"
        raise RecordError(Problem(code="E805", message=message, place=Place(str(root)), hint=FORM))
    checked = PurePosixPath(name).parts
    if replaced:
        checked = checked[:-1]
    path = root
    for part in checked:
        path /= part
        # Unlike Path.is_symlink it is silent about what may not be looked at: nothing is reached through that.
        if os.path.islink(path):  # noqa: PTH114
            _refuse_outside(root, path)
    return root / name


def _refuse_outside(root: Path, link: Path) -> None:
    target = Path(os.path.realpath(link))
    if target.is_relative_to(os.path.realpath(root)):
        return
    message = f"{link} is a symbolic link that leads out of {root}"
    hint = "Put the file or folder itself there: no link out of the folder is followed."
    raise RecordError(Problem(code="E805", message=message, place=Place(str(root)), hint=hint))
