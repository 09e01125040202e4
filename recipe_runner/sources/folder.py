"""The folder of a source that files are chosen from: on this machine, or in a repository that is not fetched yet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, Self, runtime_checkable


@runtime_checkable
class Folder(Protocol):
    """The part of `pathlib.Path` that choosing files needs; a Path is a Folder."""

    @property
    def name(self) -> str:
        """The last part of the path."""

    def __truediv__(self, name: str, /) -> Self:
        """The file or folder `name` (a POSIX path) in this folder."""

    def iterdir(self) -> Iterable[Self]:
        """The files and folders in this folder."""

    def is_dir(self) -> bool:
        """Whether this is a folder."""

    def is_file(self) -> bool:
        """Whether this is a file."""


@runtime_checkable
class Fetchable(Protocol):
    """A file that may have to be fetched before it can be read."""

    def is_here(self) -> bool:
        """Whether it is on this machine already."""

    def fetched(self) -> Path:
        """The path on this machine; fetches the file if needed."""


def on_disk(entry: Folder) -> Path:
    """The real file of an entry; fetches it if needed.

    Raises:
        SourceMissing: E402 it would have to be fetched, and nothing may be fetched.
        ResolutionError: it cannot be fetched.
    """
    if isinstance(entry, Path):
        return entry
    if isinstance(entry, Fetchable):
        return entry.fetched()
    message = f"BUG: {entry!r} is neither a path nor fetchable"
    raise AssertionError(message)


def is_here(entry: Folder) -> bool:
    """Whether a file can be read without fetching it."""
    if isinstance(entry, Fetchable):
        return entry.is_here()
    return entry.is_file()
