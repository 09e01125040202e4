"""Standard streams that can be full, closed, or piped to a reader that exits early.

Text for stderr that cannot be written is dropped, and the command continues. The result of a command goes to stdout: if
it cannot be written, the command ends with `OutputLost`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast


class OutputLost(Exception):
    """Standard output cannot be written; `error` says why. Not an OSError, which other code might handle."""

    def __init__(self, error: OSError) -> None:
        """Keep the error of the stream."""
        super().__init__(str(error))
        self.error = error


class _Stream:
    """A text stream; subclasses decide what happens if it cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def drop(self) -> None:
        """Discard the buffer of the stream and everything written later."""
        # Python writes the buffers of streams at its end, but a stream without a descriptor has none.
        with suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


class _Answer(_Stream):
    """Standard output: raises once if it cannot be written, and drops everything after that."""

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
    """Standard error: drops what it cannot write. `ValueError` means that the stream is closed."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def end(self) -> None:
        """Flush the buffer, so that Python does not fail at its end with an exit status of its own."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self.drop()


@contextmanager
def guarded() -> Iterator[None]:
    """Inside the block, stderr drops what it cannot write, and stdout raises `OutputLost`.

    Descriptors that the caller closed are opened first. Otherwise the next file, for example an image, would get the
    number of stderr, and everything that a library writes to stderr.
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
    """A stream that cannot be written, for one that the caller closed."""
    return os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
