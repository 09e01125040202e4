"""Progress of downloads and digests on stderr: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol, Self

from recipe_runner.report.escape import bare, one_line

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

PLAIN_SECONDS = 5.0
"""Minimum time between two lines about a file."""
PATIENCE_SECONDS = 0.5
"""Shorter operations are not shown."""
_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000


class ShownMeter(Protocol):
    """A meter (see `recipe_runner.sources.access.Meter`) that is shown inside a block."""

    def __enter__(self) -> Self:
        """Start to show progress."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing progress."""

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """`done` bytes of a file are downloaded."""

    def hashing(self, name: str, done: int, total: int) -> None:
        """`done` bytes of a file are hashed."""


class QuietMeter:
    """Shows nothing."""

    def __enter__(self) -> Self:
        """Show nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Show nothing."""

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """Show nothing."""

    def hashing(self, name: str, done: int, total: int) -> None:
        """Show nothing."""


class PlainMeter(QuietMeter):
    """Lines for logs: at most one every few seconds for each file, and one when it is downloaded."""

    def __init__(self) -> None:
        """Start without files."""
        self._lock = threading.Lock()
        self._written: dict[tuple[str, str], float] = {}

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """Write a line if it is time for one."""
        self._note("downloading", name, done, total)

    def hashing(self, name: str, done: int, total: int) -> None:
        """Write a line if it is time for one."""
        self._note("hashing", name, done, total)

    def _note(self, what: str, name: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        with self._lock:
            last = self._written.setdefault((what, name), now)
            finished = what == "downloading" and done == total
            if now - last < PLAIN_SECONDS and not finished:
                return
            self._written[what, name] = now
        text = f"{what} {name}: {size_text(done)}"
        if total is not None and not finished:
            text += f" of {size_text(total)}"
        print(one_line(text), file=sys.stderr, flush=True)  # noqa: T201


class BarMeter(QuietMeter):
    """A live bar for each file that takes a while; rich is imported only then."""

    def __init__(self) -> None:
        """Start without files."""
        self._bars: Progress | None = None
        self._lock = threading.Lock()
        self._began: dict[tuple[str, str], float] = {}
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __exit__(self, *_: object) -> None:
        """Remove the bars."""
        if self._bars is not None:
            self._bars.stop()

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """Move the bar of the file."""
        self._move("downloading", name, done, total)

    def hashing(self, name: str, done: int, total: int) -> None:
        """Move the bar of the file."""
        self._move("hashing", name, done, total)

    def _move(self, what: str, name: str, done: int, total: int | None) -> None:
        key, now = (what, name), time.monotonic()
        with self._lock:
            began = self._began.setdefault(key, now)
            task = self._tasks.get(key)
            if task is None and now - began < PATIENCE_SECONDS:
                return
            if self._bars is None:
                self._bars = _bars()
                self._bars.start()
            if task is None:
                task = self._tasks[key] = self._bars.add_task(one_line(f"{what} {name}"), total=total)
            self._bars.update(task, completed=done, total=total, visible=done != total)


def _bars() -> Progress:
    from rich.console import Console  # noqa: PLC0415 - rich is slow to import and only a terminal needs it
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=bare(sys.stderr)),
        transient=True,
    )


def make_meter(*, quiet: bool = False) -> ShownMeter:
    """The meter for stderr and the options."""
    if quiet:
        return QuietMeter()
    return BarMeter() if sys.stderr.isatty() else PlainMeter()


def size_text(count: int) -> str:
    """A number of bytes for a person: `1.7 GB`."""
    value, unit = float(count), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    digits = 0 if unit == 0 else 1
    return f"{value:.{digits}f} {_UNITS[unit]}"
