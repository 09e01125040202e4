"""Which files are opened, and by whatever: Linux's inotify for what lies in some folders, an audit hook for the rest.

The hook sees what Python opens, anywhere; the readers of safetensors and of tokenizers are not Python, and inotify sees
those too.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_OPEN, IN_ISDIR, IN_NONBLOCK, IN_Q_OVERFLOW = 0x20, 0x40000000, 0o4000, 0x4000
_EVENT = struct.Struct("iIII")
_heard: list[set[Path]] = []
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _heard and isinstance(arguments[0], (str, bytes, os.PathLike)):
        for heard in _heard:
            heard.add(Path(os.path.realpath(os.fsdecode(arguments[0]))))


class Opened:
    """What was opened: files in the watched folder by their paths there, and whatever else Python opened."""

    def __init__(self) -> None:
        self.inside: set[str] = set()
        self.outside: set[Path] = set()


@contextmanager
def opened(root: Path) -> Iterator[Opened]:
    """Collect the files that are opened until the end of the `with` statement; those under `root` by all means."""
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked.append(True)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(IN_NONBLOCK)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    places = {}
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        number = libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_OPEN)
        assert number >= 0, os.strerror(ctypes.get_errno())
        places[number] = folder
    found, heard = Opened(), set[Path]()
    _heard.append(heard)
    try:
        yield found
    finally:
        _heard.remove(heard)
        for number, mask, name in _events(descriptor):
            assert not mask & IN_Q_OVERFLOW
            if not mask & IN_ISDIR and name:
                found.inside.add((places[number] / name).relative_to(root).as_posix())
        os.close(descriptor)
        real = Path(os.path.realpath(root))
        found.inside |= {path.relative_to(real).as_posix() for path in heard if path.is_relative_to(real)}
        own = [
            Path(os.path.realpath(path)) for path in {*sysconfig.get_paths().values(), "/proc", "/sys", "/dev", "/usr"}
        ]
        own += [Path(__file__).resolve().parents[2], real]
        found.outside = {path for path in heard if not any(path.is_relative_to(each) for each in own)}


def _events(descriptor: int) -> Iterator[tuple[int, int, str]]:
    while True:
        try:
            data = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return
        while data:
            number, mask, _, length = _EVENT.unpack_from(data)
            name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
            yield number, mask, os.fsdecode(name)
            data = data[_EVENT.size + length :]
