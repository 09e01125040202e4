"""How far downloads and digests are, on stderr: bars on a terminal, a line now and then elsewhere."""

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
"""How often a line is written at the most."""
PATIENCE_SECONDS = 0.5
"""What takes less long is not shown."""
_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000


class ShownMeter(Protocol):
    """A meter (see `recipe_runner.sources.access.Meter`) that is shown for the length of a block."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """So many bytes of a file have come."""

    def hashing(self, name: str, done: int, total: int) -> None:
        """So many bytes of a file are hashed."""


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
    """Lines for logs: at most one in a few seconds for each file, and one when it has come."""

    def __init__(self) -> None:
        """Nothing has come."""
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], float] = {}

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """Write a line when one is due."""
        self._note("downloading", name, done, total)

    def hashing(self, name: str, done: int, total: int) -> None:
        """Write a line when one is due."""
        self._note("hashing", name, done, total)

    def _note(self, what: str, name: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        with self._lock:
            last = self._told.setdefault((what, name), now)
            finished = what == "downloading" and done == total
            if now - last < PLAIN_SECONDS and not finished:
                return
            self._told[what, name] = now
            of = f" of {size_text(total)}" if total is not None and not finished else ""
        print(one_line(f"{what} {name}: {size_text(done)}{of}"), file=sys.stderr, flush=True)  # noqa: T201


class BarMeter(QuietMeter):
    """A live bar for each file that takes its time; nothing is drawn, or imported, before one does."""

    def __init__(self) -> None:
        """Nothing has come."""
        self._bars: Progress | None = None
        self._lock = threading.Lock()
        self._began: dict[tuple[str, str], float] = {}
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __exit__(self, *_: object) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """Move the file's bar."""
        self._move("downloading", name, done, total)

    def hashing(self, name: str, done: int, total: int) -> None:
        """Move the file's bar."""
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
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415  # noqa: PLC0415

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
    """The meter that suits stderr and the options."""
    if quiet:
        return QuietMeter()
    return BarMeter() if sys.stderr.isatty() else PlainMeter()


def size_text(count: int) -> str:
    """A number of bytes for a person: `1.7 GB`."""
    value, unit = float(count), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
