"""A folder of a source that files are chosen from: a real one, or a repository's that is not fetched yet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, Self, runtime_checkable


@runtime_checkable
class Folder(Protocol):
    """What of `pathlib.Path` choosing needs: a Path is one."""

    @property
    def name(self) -> str:
        """The last part of its path."""

    def __truediv__(self, name: str, /) -> Self:
        """What is called `name` in it (a POSIX path)."""

    def iterdir(self) -> Iterable[Self]:
        """What is in it."""

    def is_dir(self) -> bool:
        """Whether it is a folder."""

    def is_file(self) -> bool:
        """Whether it is a file."""


@runtime_checkable
class Fetchable(Protocol):
    """A file that may have to be fetched before it is read."""

    def is_here(self) -> bool:
        """Whether it lies on this machine already."""

    def fetched(self) -> Path:
        """Where it lies, when it has been fetched."""


def on_disk(entry: Folder) -> Path:
    """The real file of an entry, fetched where it has to be.

    Raises:
        SourceMissing: E402 it would have to be fetched, and nothing may be.
        ResolutionError: it cannot be fetched.
    """
    if isinstance(entry, Path):
        return entry
    if isinstance(entry, Fetchable):
        return entry.fetched()
    message = f"BUG: {entry!r} is neither here nor there"
    raise AssertionError(message)


def is_here(entry: Folder) -> bool:
    """Whether a file can be read without fetching it."""
    return entry.is_here() if isinstance(entry, Fetchable) else entry.is_file()
