"""Records to test with: run folders, stored images, and system calls that fail on command."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING

from recipe_runner.disk import atomic
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.journal import JournalEntry
from recipe_runner.record.store import StoredImage

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.canonical import Json


def sha256(text: str) -> str:
    """A digest that looks like any other."""
    return hashlib.sha256(text.encode()).hexdigest()


PLAN = sha256("plan")
ENVIRONMENT: dict[str, Json] = {
    "determinism": {"threads": 1},
    "device": "cpu",
    "reproducibility": "strict",
    "versions": {"torch": "2"},
}


class Killed(BaseException):
    """Ends a test's writer where a SIGKILL would: nothing of this package catches it."""


class FailingSystem(atomic.System):
    """The real system calls, but the call with the number `fails_at` (from 0) raises `error` instead.

    Unless `whole`, each write takes half of what it is given, so that a failure tears the file.
    """

    def __init__(self, fails_at: int, error: BaseException | None = None, *, whole: bool = False) -> None:
        """Count from here."""
        self._whole = whole
        self.calls = 0
        self._fails_at = fails_at
        self._error = error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of it, or fail."""
        self._count()
        return super().write(descriptor, data if self._whole else data[: (len(data) + 1) // 2])

    def flush(self, descriptor: int) -> None:
        """Flush, or fail."""
        self._count()
        super().flush(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Rename, or fail."""
        self._count()
        super().rename(source, target)

    def _count(self) -> None:
        self.calls += 1
        if self.calls - 1 == self._fails_at:
            raise self._error


def run_folder(root: Path) -> RunFolder:
    """The folder of a plan below `root`."""
    return RunFolder(root / "runs", "cereal-or-film", PLAN)


def stored_image(name: str, data: bytes) -> StoredImage:
    """The store's record of `data` as the image of a node called `name`."""
    return StoredImage(
        node_key=sha256(name),
        file_sha256=hashlib.sha256(data).hexdigest(),
        pixel_sha256=sha256(f"pixels of {name}"),
        size=len(data),
        format="png",
        width=64,
        height=48,
        environment=ENVIRONMENT,
        inputs={"denoise.seed": 33},
    )


def journal_entry(name: str, data: bytes) -> JournalEntry:
    """The journal's line for the image file called `name` with the bytes `data`."""
    return JournalEntry(
        path=f"images/{name}",
        node_key=sha256(name),
        file_sha256=hashlib.sha256(data).hexdigest(),
        pixel_sha256=sha256(f"pixels of {name}"),
        size=len(data),
        width=64,
        height=48,
        environment=ENVIRONMENT,
    )
