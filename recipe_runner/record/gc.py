"""What may be deleted: pictures of the store that no run uses, and downloads that nobody used for long."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.disk.atomic import LEFTOVER_SUFFIX, writing
from recipe_runner.disk.lock import hold_lock
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeRunnerError, RecordError
from recipe_runner.record.listing import journal_keys
from recipe_runner.record.manifest import read_manifest
from recipe_runner.record.names import JOURNAL, MANIFEST, STORE
from recipe_runner.record.sharing import sharing_folders
from recipe_runner.record.store import Absent, Store
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
    """Files of the store below `runs` that no run names, and what killed writers left there.

    Only regular files of the store's own form count, in folders of its own form; nothing is looked at through a
    symbolic link but for the store itself, which several runs folders may share: a run of any of them keeps its images.
    A run whose manifest cannot be read is taken at its journal's word. What is not whole, a damaged record among it, is
    named too: no run believes it.

    Raises:
        RecordError: E813 it cannot be known what a run, or a runs folder that shares the store, uses.
    """
    root, store = runs / STORE, Store(runs / STORE)
    used: set[str] = set()
    for folder in sharing_folders(runs):
        used |= _used(folder)
    now = time.time()
    found: list[Garbage] = []
    for path in _regular(root, _SHARD):
        kept = _STORED.fullmatch(path.name)
        left = _LEFTOVER.fullmatch(path.name)
        status = path.lstat()
        if not (kept or left) or now - status.st_mtime < YOUNG_SECONDS:
            continue
        if left:
            found.append(Garbage(path=path, size_bytes=status.st_size, why="what a killed run left"))
        elif kept and kept[1] not in used:
            found.append(Garbage(path=path, size_bytes=status.st_size, why="no run uses it"))
        elif kept and isinstance(absent := store.look_up(kept[1]), Absent):
            found.append(Garbage(path=path, size_bytes=status.st_size, why=f"no run can use it: {absent.reason}"))
    # Records before pictures: a record without its picture would be told as damage.
    return sorted(found, key=lambda each: (each.path.suffix != ".json", each.path))


_SHARD = re.compile(r"[0-9a-f]{2}")
_STORED = re.compile(r"([0-9a-f]{64})\.[a-z]{1,8}")
_LEFTOVER = re.compile(rf"\.[0-9a-f]{{64}}\.[a-z]{{1,8}}\.[0-9a-f]{{12}}{re.escape(LEFTOVER_SUFFIX)}")
_DOWNLOADS = re.compile(r"[0-9a-f]{64}|incoming")
_BY_ADDRESS = re.compile(r"by-address")


def _regular(root: Path, folders: re.Pattern[str]) -> Iterator[Path]:
    """The regular files in those folders of `root` whose names match; none through a symbolic link below `root`."""
    for folder in sorted(root.glob("*")):
        if folders.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            yield from (path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink())


def _used(runs: Path) -> set[str]:
    used: set[str] = set()
    for folder in sorted(runs.glob("*/*")):
        if folder.parent.name != STORE and folder.is_dir():
            used |= _used_by(folder)
    return used


def _used_by(run: Path) -> set[str]:
    """Node keys of the images that a run names.

    Raises:
        RecordError: E813 it has a manifest or journal, and neither can be read.
    """
    used: set[str] = set()
    faults: list[str] = []
    known = False
    for name, read in ((MANIFEST, _manifest_keys), (JOURNAL, journal_keys)):
        if not os.path.lexists(run / name):
            continue
        try:
            used |= read(run)
            known = True
        except RecipeRunnerError as error:
            faults.append(error.problems[0].message)
    if faults and not known:
        message = f"{run}: it cannot be known which images of the store it uses ({faults[0]})"
        hint = "Run its recipe again, or delete the run folder, and then delete what no run uses."
        raise RecordError(Problem(code="E813", message=message, place=Place(str(run)), hint=hint))
    return used


def _manifest_keys(run: Path) -> set[str]:
    return {image.node_key for image in read_manifest(run / MANIFEST).images}


def download_garbage(days: float) -> list[Garbage]:
    """Downloads of URLs that nobody used for so many days, and beginnings of ones that were given up.

    Only regular files in folders of the cache's own form count, and none behind a symbolic link.
    """
    oldest = time.time() - days * DAY_SECONDS
    unused = f"not used for {days:g} days"
    found: list[Garbage] = []
    for path in _regular(urls_folder(), _DOWNLOADS):
        kind = path.parent.name
        if path.name.endswith(".lock"):
            continue
        # A download's folder is touched when it is used.
        last = path.lstat().st_mtime if kind == "incoming" else path.parent.lstat().st_mtime
        if last < oldest:
            why = "a download that was given up" if kind == "incoming" else unused
            found.append(Garbage(path=path, size_bytes=path.lstat().st_size, why=why))
    going = {each.path for each in found}
    for record in _regular(urls_folder(), _BY_ADDRESS):
        if record.suffix != ".json":
            continue
        file = recorded_file(record)
        if file is None or file in going:
            found.append(Garbage(path=record, size_bytes=record.lstat().st_size, why=unused))
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
