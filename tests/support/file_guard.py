"""Notice every file that a block touches outside the folders it may touch, and every program that it starts."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.command import ROOT

_CHANGES = {
    "os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2, "os.truncate": 1,
    "os.chmod": 1, "os.chown": 1, "os.utime": 1, "shutil.rmtree": 1, "shutil.move": 2, "shutil.copyfile": 2,
    "os.mkfifo": 1, "os.mknod": 1,
}  # fmt: skip
"""Audit events that change files, and how many of their first arguments are paths."""
_RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn", "socket.connect",
         "pickle.find_class", "marshal.loads", "ctypes.dlopen")  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_LIBRARIES = tuple(
    os.path.realpath(str(folder))
    for folder in {
        *sysconfig.get_paths().values(), *site.getsitepackages(), sys.prefix, sys.base_prefix, ROOT / "recipe_runner",
        ROOT / "schemas", ROOT / "tests", "/dev/null", "/dev/urandom", "/usr/share", "/usr/lib", "/proc/self",
        "/proc/meminfo", "/proc/cpuinfo", "/sys", "/etc/mime.types", "/etc/localtime", "/etc/ssl",
    }
)  # fmt: skip
"""What Python and the package read of themselves."""


class Guard:
    """What was touched outside `roots` while a block ran: one text each."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Watch from here on; a hook can never be taken away again, only told to look elsewhere."""
        self._roots = tuple(os.path.realpath(root) for root in roots)
        self._active = False
        self._reads = False
        self.touched: list[str] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def watching(self, *, reads: bool) -> Iterator[list[str]]:
        """Note what the block touches; with `reads` also what it only reads."""
        self.touched = []
        self._active, self._reads = True, reads
        try:
            yield self.touched
        finally:
            self._active = False

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._active:
            return
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & _WRITES
            self._note(event, path, self._roots if writes else (*self._roots, *_LIBRARIES), look=writes or self._reads)
        elif event in _CHANGES:
            for path in arguments[: _CHANGES[event]]:
                self._note(event, path, self._roots, look=True)
        elif event in _RUNS and not _is_of_an_import():
            self.touched.append(f"{event} {arguments!r:.200}")

    def _note(self, event: str, path: object, allowed: Sequence[str], *, look: object) -> None:
        if not look or not isinstance(path, (str, bytes)):
            # A number is a file that is open already.
            return
        text = os.fsdecode(path)
        # What is renamed, removed or linked is the name itself, not what it leads to.
        folder, name = os.path.split(text)
        real = os.path.realpath(text) if event == "open" else f"{os.path.realpath(folder)}{os.sep}{name}"
        if not any(real == root or real.startswith(f"{root}{os.sep}") for root in allowed):
            self.touched.append(f"{event} {text!r}")


def _is_of_an_import() -> bool:
    """Whether a module is being imported: it is unmarshalled, and its libraries are opened."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
