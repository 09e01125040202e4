"""What may be deleted: pictures of the store that no run uses, and downloads that nobody used for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.disk.atomic import LEFTOVER_SUFFIX, writing
from recipe_runner.disk.lock import hold_lock
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.record.listing import journal_keys
from recipe_runner.record.manifest import read_manifest
from recipe_runner.record.names import MANIFEST, STORE
from recipe_runner.sources.url.cache import recorded_file, urls_folder

YOUNG_SECONDS = 3600.0
"""What is younger may belong to a run that is at work; it is left alone."""
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """A file that may be deleted: its size in bytes, and why nobody misses it."""

    path: Path
    size_bytes: int
    why: str


def store_garbage(runs: Path) -> list[Garbage]:
    """Files of the store below `runs` that no run below `runs` names, and what killed writers left there.

    A run whose manifest cannot be read is taken at its journal's word.
    """
    used = _used(runs)
    now = time.time()
    found: list[Garbage] = []
    for path in sorted((runs / STORE).glob("*/*")):
        try:
            status = path.stat()
        except OSError:
            continue
        if path.name == ".lock" or not path.is_file() or now - status.st_mtime < YOUNG_SECONDS:
            continue
        if path.name.endswith(LEFTOVER_SUFFIX):
            found.append(Garbage(path=path, size_bytes=status.st_size, why="what a killed run left"))
        elif path.stem not in used:
            found.append(Garbage(path=path, size_bytes=status.st_size, why="no run uses it"))
    # Records before pictures: a record without its picture would be told as damage.
    return sorted(found, key=lambda each: (each.path.suffix != ".json", each.path))


def _used(runs: Path) -> set[str]:
    used: set[str] = set()
    for folder in sorted(runs.glob("*/*")):
        if folder.parent.name == STORE or not folder.is_dir():
            continue
        used |= journal_keys(folder)
        with suppress(RecipeRunnerError):
            used.update(image.node_key for image in read_manifest(folder / MANIFEST).images)
    return used


def download_garbage(days: float) -> list[Garbage]:
    """Downloads of URLs that nobody used for so many days, and beginnings of ones that were given up."""
    oldest = time.time() - days * DAY_SECONDS
    unused = f"not used for {days:g} days"
    found: list[Garbage] = []
    for path in sorted(urls_folder().glob("*/*")):
        kind = path.parent.name
        if not path.is_file() or path.name.endswith(".lock") or kind == "by-address":
            continue
        # A download's folder is touched when it is used.
        last = path.stat().st_mtime if kind == "incoming" else path.parent.stat().st_mtime
        if last < oldest:
            why = "a download that was given up" if kind == "incoming" else unused
            found.append(Garbage(path=path, size_bytes=path.stat().st_size, why=why))
    going = {each.path for each in found}
    for record in sorted((urls_folder() / "by-address").glob("*.json")):
        file = recorded_file(record)
        if file is None or file in going:
            found.append(Garbage(path=record, size_bytes=record.stat().st_size, why=unused))
    return found


def delete(garbage: list[Garbage]) -> None:
    """Delete the files; those of a folder that has a lock, under it.

    Raises:
        RecordError: E801 one cannot be deleted.
    """
    for folder, entries in _by_folder(garbage):
        lock = folder / ".lock"
        with hold_lock(lock, wait=True) if lock.is_file() else nullcontext(), writing(folder):
            for each in entries:
                each.path.unlink(missing_ok=True)
        if folder.parent == urls_folder():
            with suppress(OSError):
                folder.rmdir()


def _by_folder(garbage: list[Garbage]) -> Iterator[tuple[Path, list[Garbage]]]:
    folders: dict[Path, list[Garbage]] = {}
    for each in garbage:
        folders.setdefault(each.path.parent, []).append(each)
    yield from folders.items()
