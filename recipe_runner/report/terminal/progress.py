"""Progress on stderr: images done, the denoising step, time left. A bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, Self

from recipe_runner.report.escape import bare, inert, one_line, visible

if TYPE_CHECKING:
    from types import TracebackType

PLAIN_SECONDS = 5.0
"""Minimum time between two plain lines."""


class Progress(Protocol):
    """Shows the progress of a run."""

    def __enter__(self) -> Self:
        """Start to show progress."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing progress."""

    def say(self, message: str) -> None:
        """Show a message."""

    def explain(self, message: str) -> None:
        """Show what happens to an image and why, if the user wants details."""

    def begin(self, reused: int) -> None:
        """`reused` images exist already; the others are made from now on."""

    def step(self, step: int, steps: int) -> None:
        """A denoising step of the current image is done; counts from 1."""

    def image(self, path: str) -> None:
        """An image is finished."""


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        """Show nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Show nothing."""

    def say(self, message: str) -> None:
        """Show nothing."""

    def explain(self, message: str) -> None:
        """Show nothing."""

    def begin(self, reused: int) -> None:
        """Show nothing."""

    def step(self, step: int, steps: int) -> None:
        """Show nothing."""

    def image(self, path: str) -> None:
        """Show nothing."""


class Plain(Quiet):
    """Lines for logs: one for each image with `every`, else at most one every few seconds and one at the end."""

    def __init__(self, total: int, *, every: bool) -> None:
        """Expect `total` images."""
        self._total, self._every, self._done, self._made = total, every, 0, 0
        self._first = self._written = time.monotonic()

    def say(self, message: str) -> None:
        """Write the message."""
        print(message, file=sys.stderr, flush=True)  # noqa: T201

    def explain(self, message: str) -> None:
        """Write the message if every image gets a line."""
        if self._every:
            self.say(message)

    def begin(self, reused: int) -> None:
        """Write how many images exist already."""
        self._done = reused
        if reused:
            self.say(f"{reused} of {self._total} images are made already")

    def step(self, step: int, steps: int) -> None:
        """Write a line if it is time for one: an image can take minutes."""
        now = time.monotonic()
        if now - self._written >= PLAIN_SECONDS:
            self._written = now
            self.say(f"image {self._done + 1} of {self._total}: step {step} of {steps}")

    def image(self, path: str) -> None:
        """Write a line if it is time for one."""
        self._done, self._made = self._done + 1, self._made + 1
        now = time.monotonic()
        if self._made == 1:
            # The models are loaded: measure the time per image from here.
            self._first = now
        if self._every or self._done == self._total or now - self._written >= PLAIN_SECONDS:
            self._written = now
            tail = ""
            if self._made > 1 and self._done < self._total:
                left = (now - self._first) / (self._made - 1) * (self._total - self._done)
                tail = f", about {_duration(left)} left"
            self.say(f"image {self._done} of {self._total}: {path}{tail}")


class Bar(Quiet):
    """A live bar on a terminal."""

    def __init__(self, total: int) -> None:
        """Expect `total` images."""
        from rich.console import Console  # noqa: PLC0415 - rich is slow to import and only a terminal needs it
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        self._bar = RichProgress(
            TextColumn("[bold]images"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[step]}", markup=False),
            TimeRemainingColumn(),
            console=Console(file=bare(sys.stderr)),
            transient=True,
        )
        self._task = self._bar.add_task("images", total=total, step="loading")
        self._done = 0

    def __enter__(self) -> Self:
        """Draw the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        self._bar.stop()

    def say(self, message: str) -> None:
        """Write the message above the bar."""
        self._bar.console.print(inert(visible(message)), markup=False, highlight=False)

    def begin(self, reused: int) -> None:
        """Count the images that exist already."""
        self._done = reused
        self._bar.update(self._task, completed=reused)

    def step(self, step: int, steps: int) -> None:
        """Move the bar by a part of an image."""
        self._bar.update(self._task, completed=self._done + step / (steps + 1), step=f"step {step}/{steps}")

    def image(self, path: str) -> None:
        """Move the bar to the next image."""
        self._done += 1
        self._bar.update(self._task, completed=self._done, step=one_line(path))


def make_progress(total: int, *, quiet: bool = False, verbose: bool = False) -> Progress:
    """The progress for stderr and the options."""
    if quiet:
        return Quiet()
    if sys.stderr.isatty() and not verbose:
        return Bar(total)
    return Plain(total, every=verbose)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {rest} s"
    return f"{rest} s"
