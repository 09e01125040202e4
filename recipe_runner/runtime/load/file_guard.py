"""Detect changed files. Weights are mapped from their files, so overwriting a file in place changes a loaded model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.plan.resolved_base import AnySource
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

        Digests are cached by the file's size, inode and times, so this reads a large file at most once.

        Raises:
            WeightsError: E508, when a file is missing or no longer has the digest that the plan states.
        """
        stamps = _stamps(source)
        changed = []
        for file, stamp in zip(source.files, stamps, strict=True):
            if stamp is None or stamp[1] != file.size or file_sha256(source.path(file.name)) != file.sha256:
                changed.append(file.name)
        if changed:
            raise _changed(source, changed)
        return cls(source, stamps)

    def check(self) -> None:
        """Look again: only while no file changes, what was loaded is what was hashed.

        Raises:
            WeightsError: E508, naming the files that were replaced, rewritten or removed.
        """
        changed = []
        for file, before, now in zip(self.source.files, self.stamps, _stamps(self.source), strict=True):
            if before != now:
                changed.append(file.name)
        if changed:
            raise _changed(self.source, changed)


def require_found(sources: Iterable[AnySource]) -> list[Source]:
    """These sources, each of which must be found."""
    return [source.require_found() for source in sources]


@contextmanager
def unchanged(*sources: Source) -> Iterator[tuple[Watch, ...]]:
    """Read files of `sources` in a block. The watches that it gives can check the files again later.

    Raises:
        WeightsError: E508, when a file changed before or during the block.
    """
    watches = tuple(map(Watch.begin, sources))
    yield watches
    for watch in watches:
        watch.check()


def _stamps(source: Source) -> tuple[_Stamp | None, ...]:
    return tuple(_stamp(source.path(file.name)) for file in source.files)


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
