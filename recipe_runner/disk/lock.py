"""Locks between processes: held by a process, and released by its end however it ends.

They are flocks on a hidden file. The file stays (deleting it would let two processes hold "the" lock); the lock does
not, so that a lock left by a killed process holds nobody up. A file and not the folder itself, because network file
systems refuse to lock what is not open for writing.
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
    # As on Windows: what needs no lock works all the same.
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def hold_lock(path: Path, *, wait: bool, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path` for the length of the block.

    Args:
        path: the lock file; made where there is none.
        wait: wait for the process that holds it; otherwise be refused.
        on_wait: called once, with a sentence for a person, before waiting.

    Raises:
        RecordError: E905 where the system has no such locks; E803 when another process holds it and `wait` is false;
            E801 when it cannot be made.
    """
    if fcntl is None:
        message = "this system has no file locks (fcntl), so that runs and downloads are not possible"
        hint = "use Linux, macOS or WSL; validate, plan, diff, export, import, inspect, init and runs work here"
        raise RecordError(Problem(code="E905", message=message, hint=hint))
    make_folder(path.parent)
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        if not _take(descriptor, path):
            holder = _holder(descriptor)
            if not wait:
                raise RecordError(
                    Problem(
                        code="E803",
                        message=f"{holder} is already working in {path.parent}",
                        place=Place(str(path.parent)),
                        hint="Wait until it has ended, or run with --wait.",
                    )
                )
            if on_wait is not None:
                on_wait(f"{holder} is working in {path.parent}: waiting for it to end")
            with writing(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Only for the message above: who holds the lock is decided by the lock alone.
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
    return f"another process (pid {text})" if text.isdecimal() else "another process"
