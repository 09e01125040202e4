"""Weights are mapped from their files: a file overwritten in place changes the model that was loaded from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.problems.problem import WeightsError
from recipe_runner.problems.wording import some
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.digests import file_sha256

_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Watch:
    """The files of a source as they were when it was first read: size, inode, and both times to the nanosecond."""

    source: Source
    stamps: tuple[_Stamp | None, ...]

    @classmethod
    def begin(cls, source: Source) -> Watch:
        """Look at the files of `source` before they are read.

        Digests are remembered by what the file system says of a file, so this reads a large file once at most.

        Raises:
            WeightsError: E508, when a file is gone or is no longer the one that its digest was taken of.
        """
        watch = cls(source, tuple(_stamp(source.path(file.name)) for file in source.files))
        moved = [
            file.name
            for file, stamp in zip(source.files, watch.stamps, strict=True)
            if stamp is None or stamp[1] != file.size or file_sha256(source.path(file.name)) != file.sha256
        ]
        if moved:
            raise _changed(source, moved)
        return watch

    def check(self) -> None:
        """Look again: what was loaded is what was hashed only while nothing has moved.

        Raises:
            WeightsError: E508, naming the files that were replaced, rewritten or removed.
        """
        now = [_stamp(self.source.path(file.name)) for file in self.source.files]
        moved = [file.name for file, was, is_ in zip(self.source.files, self.stamps, now, strict=True) if was != is_]
        if moved:
            raise _changed(self.source, moved)


@contextmanager
def unchanged(*sources: Source) -> Iterator[tuple[Watch, ...]]:
    """Read files of `sources` in a block; the watches of each serve what reads them again later.

    Raises:
        WeightsError: E508, when a file changed before the block, or in it.
    """
    watches = tuple(Watch.begin(source) for source in sources)
    yield watches
    for watch in watches:
        watch.check()


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed(source: Source, names: list[str]) -> Exception:
    return WeightsError.of(
        "E508",
        f"{source.address}: {some(names)} changed while the run was using it",
        "run again once nothing writes there; replace weights by renaming a new file over the old one",
    )
