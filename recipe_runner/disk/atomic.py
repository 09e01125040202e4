"""Write files atomically: to a temporary file, flushed, then renamed. All writes of this package come through here.

A reader sees the whole old file or the whole new one, even if the writer is killed or the power fails between any two
system calls. A killed writer leaves a hidden file ending in `.part`, which is never read and which `remove_leftovers`
deletes. Every write, flush and rename goes through `system`, so that a test can make each fail.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recipe_runner.disk.home import NOWHERE
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEFTOVER_SUFFIX = ".part"

_HINTS = {
    errno.ENOSPC: "The disk is full. Free some space and run again: what was finished is kept.",
    errno.EDQUOT: "The disk quota is used up. Free some space and run again: what was finished is kept.",
    errno.EROFS: "The file system is read-only. Choose another folder.",
    errno.EACCES: "You do not have permission to write there. Choose another folder, or change its permissions.",
    errno.EPERM: "You do not have permission to write there. Choose another folder, or change its permissions.",
    errno.ENOTDIR: "A part of this path is a file, not a folder. Choose another folder.",
    errno.EEXIST: "A file exists where a folder is needed. Choose another folder.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ELOOP: "The path is a symbolic link, which is not followed. Put the file itself there, or delete the link.",
}
_NO_HOME = "The user has no home folder. Set HOME, or RECIPE_RUNNER_CACHE and HF_HOME, to a writable folder."


class System:
    """The system calls that change files, one method each."""

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of `data`; returns how many bytes were written."""
        return os.write(descriptor, data)

    def flush(self, descriptor: int) -> None:
        """Wait until the file, or the folder's list of names, is on the disk."""
        os.fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Replace `target` with `source` in one step."""
        source.replace(target)


system = System()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while writing into a problem that says what to do.

    Raises:
        RecordError: E801.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, "")
        if NOWHERE in path.parents:
            hint = _NO_HOME
        problem = Problem(code="E801", message=f"cannot write {path}: {reason}", place=Place(str(path)), hint=hint)
        raise RecordError(problem) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while reading into a problem.

    Raises:
        RecordError: E802.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        problem = Problem(code="E802", message=f"cannot read {path}: {reason}", place=Place(str(path)))
        raise RecordError(problem) from error


def make_folder(path: Path) -> None:
    """Make the folder `path` and its parents, and flush the new names.

    Raises:
        RecordError: E801.
    """
    with writing(path):
        if path.is_dir():
            return
        missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            _flush_folder(folder.parent)


def write_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path`, whole or not at all.

    With `durable` false nothing is flushed: a killed process still leaves the old file or the new one, but a power
    failure may leave the file torn. This is for files whose digest is checked and that are cheap to make again.

    Raises:
        RecordError: E801; the old file is then unchanged.
    """
    with writing(path):
        aside = path.with_name(f".{path.name[:80]}.{secrets.token_hex(6)}{LEFTOVER_SUFFIX}")
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                write_all(descriptor, data)
                if durable:
                    system.flush(descriptor)
            finally:
                os.close(descriptor)
            system.rename(aside, path)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
        if durable:
            _flush_folder(path.parent)


def put_in_place(aside: Path, path: Path) -> None:
    """Flush the whole file `aside` and rename it to `path`, on the same file system.

    Raises:
        RecordError: E801.
    """
    with writing(path):
        descriptor = os.open(aside, os.O_RDONLY)
        try:
            system.flush(descriptor)
        finally:
            os.close(descriptor)
        system.rename(aside, path)
        _flush_folder(path.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`: one system call may write only a part, for instance on a disk that fills up."""
    rest = memoryview(data)
    while rest:
        rest = rest[system.write(descriptor, rest) :]


def write_if_changed(path: Path, data: bytes) -> bool:
    """Write `data` to `path` unless the file has these contents already; returns whether it wrote.

    Raises:
        RecordError: E801.
    """
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return False
    write_file(path, data)
    return True


def append(path: Path, data: bytes, keep: int) -> None:
    """Cut `path` to its first `keep` bytes, append `data` and flush; makes the file if it does not exist.

    Raises:
        RecordError: E801; part of `data` may then be in the file.
    """
    with writing(path):
        is_new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if os.fstat(descriptor).st_size != keep:
                os.ftruncate(descriptor, keep)
            os.lseek(descriptor, keep, os.SEEK_SET)
            write_all(descriptor, data)
            system.flush(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            _flush_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Delete the files that killed writers left in `folder`. The caller holds the lock for writing there.

    Raises:
        RecordError: E801.
    """
    with writing(folder):
        if not folder.is_dir():
            return
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") and path.name.endswith(LEFTOVER_SUFFIX):
                path.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    # A rename is durable only after the folder with the name is flushed.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        system.flush(descriptor)
    finally:
        os.close(descriptor)
