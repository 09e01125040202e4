"""Locks between processes, which are released when the process ends for any reason.

A lock is a flock on a hidden file. The file stays, because deleting it would let two processes hold the lock; the flock
does not stay, so a killed process blocks nobody. It is a file and not the folder itself, because network file systems
lock only files that are open for writing.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recipe_runner.disk.atomic import make_folder, writing
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError

try:
    import fcntl
except ImportError:
    # On Windows, commands without a lock still work.
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def hold_lock(path: Path, *, wait: bool, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path` for the length of the block.

    Args:
        path: the lock file; made if it does not exist.
        wait: wait for the process that holds the lock, instead of raising.
        on_wait: called once with a message before waiting.

    Raises:
        RecordError: E905 the system has no file locks; E803 another process holds the lock and `wait` is false; E801
            the file cannot be made.
    """
    if fcntl is None:
        message = "this system has no file locks (fcntl), so runs and downloads are not possible"
        hint = "use Linux, macOS or WSL; validate, plan, diff, export, import, inspect, init and runs work here"
        raise RecordError(Problem(code="E905", message=message, hint=hint))
    make_folder(path.parent)
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        if not _take(descriptor, path):
            holder = _holder(descriptor)
            if not wait:
                message = f"{holder} is already working in {path.parent}"
                hint = "Wait until it has ended, or run with --wait."
                raise RecordError(Problem.at(Place(str(path.parent)), "E803", message, hint))
            if on_wait is not None:
                on_wait(f"{holder} is working in {path.parent}: waiting for it to end")
            with writing(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Only for the message above; the flock alone decides who holds the lock.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> bool:
    with writing(path):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    if text.isdecimal():
        return f"another process (pid {text})"
    return "another process"
