"""sha256 of files, with a cache, so that a base of several gigabytes is hashed once and not for every plan.

A cached digest is valid for one path, device, inode, size, modification time and change time; after any change the file
is hashed again. A record that is lost, torn or foreign only costs another hash; the result is never wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from recipe_runner.canonical import parse_json
from recipe_runner.disk.home import home_folder
from recipe_runner.weights.files.formats import cannot_read, regular_size, weights_error
from recipe_runner.weights.files.header import read_header

Progress = Callable[[int, int], None]
"""Called with the number of bytes read so far, and the size of the file."""

BLOCK_BYTES: Final = 4 * 1024 * 1024
SMALL_FILE_BYTES: Final = 256 * 1024
"""Files up to this size are hashed each time, which is as fast as reading the cache."""
RACY_SECONDS: Final = 2
"""A file changed this recently may change again within the same clock tick, so it is not cached (as in git)."""
_ATTEMPTS: Final = 3
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_Identity = tuple[int, int, int, int, int]


def cache_folder() -> Path:
    """`$RECIPE_RUNNER_CACHE`, or the user's cache folder on this platform (in `NOWHERE` without a home folder)."""
    chosen = os.environ.get("RECIPE_RUNNER_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(home_folder() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(home_folder() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(home_folder() / ".cache")
    return Path(base) / "recipe_runner"


_UNHASHED: ContextVar[bool] = ContextVar("unhashed", default=False)


@contextmanager
def unhashed() -> Iterator[None]:
    """Read no contents in the block: `file_sha256` then identifies files by their size, times and inode.

    This is for checks without a plan: nothing derived from such a digest may be stored.
    """
    token = _UNHASHED.set(True)
    try:
        yield
    finally:
        _UNHASHED.reset(token)


def is_unhashed() -> bool:
    """Whether contents must not be read here."""
    return _UNHASHED.get()


def file_sha256(path: Path, progress: Progress | None = None) -> str:
    """Hexadecimal sha256 of the file at `path`.

    Raises:
        WeightsError: E401, E415 it cannot be read, E414 it keeps changing while it is read.
    """
    if is_unhashed():
        regular_size(path)
        return "unhashed:" + hashlib.sha256(repr(_identity(path.stat())).encode()).hexdigest()
    return _remembered(Path(path), "sha256", 0, progress)


def autov3(path: Path, progress: Progress | None = None) -> str:
    """Hexadecimal sha256 of a safetensors file's bytes after its header; its first 12 digits are Civitai's AutoV3.

    Raises:
        WeightsError: as `file_sha256`, and as `read_header` if it is not a whole safetensors file.
    """
    path = Path(path)
    return _remembered(path, "autov3", read_header(path).data_start, progress)


def _remembered(path: Path, kind: str, start: int, progress: Progress | None) -> str:
    size = regular_size(path)
    record = None
    if size > SMALL_FILE_BYTES:
        record = _record_path(path, kind)
        known = _recall(record, path)
        if known is not None:
            return known
    for _ in range(_ATTEMPTS):
        began = time.time_ns()
        try:
            before, value, after = _hash_once(path, start, progress)
        except OSError as error:
            raise cannot_read(path, error) from error
        if before == after:
            changed = max(before[3], before[4])
            if record is not None and began - changed >= RACY_SECONDS * 1_000_000_000:
                _remember(record, path, before, value)
            return value
    raise weights_error("E414", path, "the file changes while it is read", "wait until it is written whole")


def _identity(status: os.stat_result) -> _Identity:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _hash_once(path: Path, start: int, progress: Progress | None) -> tuple[_Identity, str, _Identity]:
    """The identity of the file, the digest of its bytes from `start`, and the identity afterwards."""
    hasher = hashlib.sha256()
    block = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        done = file.seek(start)
        # Not beyond the first size: a file that grows as fast as it is read would never end.
        while done <= before.st_size and (count := file.readinto(block)):
            hasher.update(block[:count])
            done += count
            if progress is not None:
                progress(done, before.st_size)
    # By path, not by descriptor: another file may have been renamed over this one.
    return _identity(before), hasher.hexdigest(), _identity(path.stat())


def _record_path(path: Path, kind: str) -> Path:
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    return cache_folder() / "digests" / f"{name[:40]}.{kind}.json"


def _recall(record: Path, path: Path) -> str | None:
    try:
        found = parse_json(record.read_bytes())
        if found["identity"] != list(_identity(path.stat())) or found["path"] != str(path.absolute()):
            return None
        value: str = found["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        return None
    return value


def _remember(record: Path, path: Path, identity: _Identity, value: str) -> None:
    content = json.dumps({"path": str(path.absolute()), "identity": identity, "digest": value})
    # A cache that cannot be written (read-only home, full disk) is not a reason to fail.
    with suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=record.parent, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
            Path(aside).replace(record)
        except OSError:
            Path(aside).unlink(missing_ok=True)
            raise
