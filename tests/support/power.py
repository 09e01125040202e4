"""A disk that loses what was not flushed when the power fails, as POSIX allows it to."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from support.records import Killed

from recipe_runner.disk.atomic import System


@dataclass(frozen=True)
class _Renamed:
    target: Path
    before: bytes | None


class Power(System):
    """The real system calls, remembering what is not on the disk yet; the call with the number `fails_at` never ends.

    After `Killed` was raised, `lose` makes the files what a disk may hold when the power comes back: a file that was
    not flushed is cut at any place or filled with zeros, a rename whose folder was not flushed may not have happened.
    """

    def __init__(self, fails_at: int) -> None:
        """Count from here."""
        self.calls = 0
        self._fails_at = fails_at
        self._written: dict[Path, int] = {}
        self._renamed: dict[Path, list[_Renamed]] = {}

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write; it is not on the disk."""
        self._count()
        path = _path(descriptor)
        self._written.setdefault(path, path.stat().st_size if path.exists() else 0)
        return super().write(descriptor, data)

    def flush(self, descriptor: int) -> None:
        """Flush a file or a folder: now it is on the disk."""
        self._count()
        path = _path(descriptor)
        self._written.pop(path, None)
        self._renamed.pop(path, None)

    def rename(self, source: Path, target: Path) -> None:
        """Rename; the folder does not know on the disk."""
        self._count()
        source, target = source.absolute(), target.absolute()
        before = target.read_bytes() if target.exists() else None
        self._renamed.setdefault(target.parent, []).append(_Renamed(target, before))
        if source in self._written:
            self._written[target] = self._written.pop(source)
        super().rename(source, target)

    def lose(self, dice: random.Random) -> None:
        """The power fails."""
        for path, whole in self._written.items():
            if path.exists():
                data = path.read_bytes()
                kept = data[: dice.randint(whole if whole < len(data) else 0, len(data))]
                path.write_bytes(kept + bytes(dice.choice((0, len(data) - len(kept)))))
        for renames in self._renamed.values():
            # Later renames of a folder are lost first.
            for renamed in reversed(renames[dice.randint(0, len(renames)) :]):
                if renamed.before is None:
                    renamed.target.unlink(missing_ok=True)
                else:
                    renamed.target.write_bytes(renamed.before)

    def _count(self) -> None:
        self.calls += 1
        if self.calls - 1 == self._fails_at:
            raise Killed


def _path(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()
