"""Progress on stderr: images done, the denoising step, time left. A bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, Self

from recipe_runner.report.escape import bare, inert, one_line, visible

if TYPE_CHECKING:
    from types import TracebackType

PLAIN_SECONDS = 5.0
"""How often a plain line is written at the most."""


class Progress(Protocol):
    """Told how far a run is."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""

    def say(self, message: str) -> None:
        """Tell the user a sentence."""

    def explain(self, message: str) -> None:
        """Tell who wants to know what happens to an image, and why."""

    def begin(self, reused: int) -> None:
        """So many images are there already; the rest is made from here on."""

    def step(self, step: int, steps: int) -> None:
        """A denoising step of the current image is done; counts from 1."""

    def image(self, path: str) -> None:
        """An image is whole."""


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
    """Lines for logs: one for each image with `every`, else at most one in a few seconds and one at the end."""

    def __init__(self, total: int, *, every: bool) -> None:
        """Expect `total` images."""
        self._total, self._every, self._done, self._made = total, every, 0, 0
        self._first = self._told = time.monotonic()

    def say(self, message: str) -> None:
        """Write the sentence."""
        print(message, file=sys.stderr, flush=True)  # noqa: T201

    def explain(self, message: str) -> None:
        """Say it when every image is told of."""
        if self._every:
            self.say(message)

    def begin(self, reused: int) -> None:
        """Say what is there."""
        self._done = reused
        if reused:
            self.say(f"{reused} of {self._total} images are made already")

    def step(self, step: int, steps: int) -> None:
        """Write a line when one is due: an image may take minutes."""
        now = time.monotonic()
        if now - self._told >= PLAIN_SECONDS:
            self._told = now
            self.say(f"image {self._done + 1} of {self._total}: step {step} of {steps}")

    def image(self, path: str) -> None:
        """Write a line when one is due."""
        self._done, self._made = self._done + 1, self._made + 1
        now = time.monotonic()
        if self._made == 1:
            # Loading is over: what comes is measured from here.
            self._first = now
        if self._every or self._done == self._total or now - self._told >= PLAIN_SECONDS:
            self._told = now
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
        """Draw it."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._bar.stop()

    def say(self, message: str) -> None:
        """Write the sentence above the bar."""
        self._bar.console.print(inert(visible(message)), markup=False, highlight=False)

    def begin(self, reused: int) -> None:
        """Count what is there."""
        self._done = reused
        self._bar.update(self._task, completed=reused)

    def step(self, step: int, steps: int) -> None:
        """Move within the image."""
        self._bar.update(self._task, completed=self._done + step / (steps + 1), step=f"step {step}/{steps}")

    def image(self, path: str) -> None:
        """Move to the next image."""
        self._done += 1
        self._bar.update(self._task, completed=self._done, step=one_line(path))


def make_progress(total: int, *, quiet: bool = False, verbose: bool = False) -> Progress:
    """The progress that suits stderr and the options."""
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
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
