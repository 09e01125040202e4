"""Standard output and standard error that may be full, closed, or read by someone who goes away.

What goes to stderr is for people: where it cannot be written it is dropped, and nothing fails of it. What goes to
stdout is the answer: where it cannot be written, the command ends with `OutputLost`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast


class OutputLost(Exception):
    """Standard output cannot be written; `error` says why. It is no OSError, which other code takes for its own."""

    def __init__(self, error: OSError) -> None:
        """Standard output cannot be written."""
        super().__init__(str(error))
        self.error = error


class _Stream:
    """A text stream, but for what happens when it cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def drop(self) -> None:
        """Let what the stream still holds, and all that comes, go nowhere."""
        # What has no descriptor holds nothing that Python writes when it ends.
        with suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


class _Answer(_Stream):
    """Standard output: raises once that it is lost, and drops what comes after that."""

    def write(self, text: str) -> int:
        with self._losing():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._losing():
            self._stream.flush()

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.drop()
            raise OutputLost(error) from error


class _Talk(_Stream):
    """Standard error: drops what it cannot write. A `ValueError` says that the stream was closed."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def end(self) -> None:
        """Write what is left, so that Python, which would end with a status of its own, need not."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self.drop()


@contextmanager
def guarded() -> Iterator[None]:
    """In the block, stderr drops what it cannot write, and stdout raises `OutputLost`.

    A descriptor that the caller closed is occupied first: the next file that is opened, an image among them, would get
    its number, and whatever a library writes to stderr.
    """
    for descriptor in range(3):
        _occupy(descriptor)
    talk = _Talk(sys.stderr or _closed())
    with redirect_stdout(cast("TextIO", _Answer(sys.stdout or _closed()))), redirect_stderr(cast("TextIO", talk)):
        try:
            yield
        finally:
            talk.end()


def _occupy(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDONLY)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _closed() -> TextIO:
    """A stream that cannot be written, in the place of one that the caller closed."""
    return os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
