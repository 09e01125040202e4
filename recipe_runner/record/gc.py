"""Find and delete garbage: images of the store that no run uses, and downloads unused for a long time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.disk.atomic import LEFTOVER_SUFFIX, writing
from recipe_runner.disk.lock import hold_lock
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeRunnerError, RecordError
from recipe_runner.record.listing import journal_keys, run_folders
from recipe_runner.record.manifest import read_manifest
from recipe_runner.record.names import JOURNAL, MANIFEST, STORE
from recipe_runner.record.sharing import sharing_folders
from recipe_runner.record.store import Absent, Store
from recipe_runner.sources.url.cache import recorded_file, urls_folder

YOUNG_SECONDS = 3600.0
"""Younger files may belong to a run in progress; they are kept."""
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """A file that can be deleted: its size in bytes, and why nothing needs it."""

    path: Path
    size_bytes: int
    why: str


def store_garbage(runs: Path) -> list[Garbage]:
    """Files of the store below `runs` that no run uses, and temporary files of killed processes.

    Only regular files with the store's names count, in folders with the store's names. No symbolic link is followed
    except the store itself, which several runs folders can share: a run in any of them keeps its images. If a run's
    manifest cannot be read, its journal is used. Incomplete images and damaged records are garbage too, because no run
    uses them.

    Raises:
        RecordError: E813, the images that a run, or a runs folder that shares the store, uses are not known.
    """
    store = Store(runs / STORE)
    used: set[str] = set()
    for folder in sharing_folders(runs):
        used |= _used(folder)
    now = time.time()
    found: list[Garbage] = []
    for path in _regular(store.root, _SHARD):
        status = path.lstat()
        if now - status.st_mtime < YOUNG_SECONDS:
            continue
        why = _why_unused(path.name, used, store)
        if why is not None:
            found.append(Garbage(path=path, size_bytes=status.st_size, why=why))
    # Records before images: a record without its image would be reported as damaged.
    return sorted(found, key=lambda each: (each.path.suffix != ".json", each.path))


def _why_unused(name: str, used: set[str], store: Store) -> str | None:
    """Why no run needs the file `name` of the store; None if one does, or if the name is not the store's."""
    if _LEFTOVER.fullmatch(name):
        return "a temporary file of a killed run"
    stored = _STORED.fullmatch(name)
    if stored is None:
        return None
    if stored[1] not in used:
        return "no run uses it"
    found = store.look_up(stored[1])
    if isinstance(found, Absent):
        return f"no run can use it: {found.reason}"
    return None


_SHARD = re.compile(r"[0-9a-f]{2}")
_STORED = re.compile(r"([0-9a-f]{64})\.[a-z]{1,8}")
_LEFTOVER = re.compile(rf"\.[0-9a-f]{{64}}\.[a-z]{{1,8}}\.[0-9a-f]{{12}}{re.escape(LEFTOVER_SUFFIX)}")
_DOWNLOADS = re.compile(r"[0-9a-f]{64}|incoming")
_BY_ADDRESS = re.compile(r"by-address")


def _regular(root: Path, folders: re.Pattern[str]) -> Iterator[Path]:
    """The regular files in the folders of `root` whose names match; follows no symbolic link below `root`."""
    for folder in sorted(root.glob("*")):
        if folders.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            for path in sorted(folder.iterdir()):
                if path.is_file() and not path.is_symlink():
                    yield path


def _used(runs: Path) -> set[str]:
    used: set[str] = set()
    for folder in run_folders(runs):
        used |= _used_by(folder)
    return used


def _used_by(run: Path) -> set[str]:
    """Node keys of the images that a run uses.

    Raises:
        RecordError: E813, it has a manifest or journal, but neither can be read.
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
        message = f"cannot determine which images of the store {run} uses: {faults[0]}"
        hint = "Run its recipe again or delete the run folder, then run `gc` again."
        raise RecordError(Problem(code="E813", message=message, place=Place(str(run)), hint=hint))
    return used


def _manifest_keys(run: Path) -> set[str]:
    return {image.node_key for image in read_manifest(run / MANIFEST).images}


def download_garbage(days: float) -> list[Garbage]:
    """Downloads of URLs unused for this many days, and incomplete downloads that were abandoned.

    Only regular files in folders with the cache's names count; no symbolic link is followed.
    """
    oldest = time.time() - days * DAY_SECONDS
    unused = f"not used for {days:g} days"
    found: list[Garbage] = []
    going: set[Path] = set()
    for path in _regular(urls_folder(), _DOWNLOADS):
        if path.name.endswith(".lock"):
            continue
        # A download's folder is touched when it is used.
        touched, why = path.parent, unused
        if path.parent.name == "incoming":
            touched, why = path, "an abandoned download"
        if touched.lstat().st_mtime < oldest:
            going.add(path)
            found.append(Garbage(path=path, size_bytes=path.lstat().st_size, why=why))
    for record in _regular(urls_folder(), _BY_ADDRESS):
        if record.suffix != ".json":
            continue
        file = recorded_file(record)
        if file is None or file in going:
            found.append(Garbage(path=record, size_bytes=record.lstat().st_size, why=unused))
    return found


def delete(garbage: list[Garbage]) -> None:
    """Delete the files, each folder's under its lock if it has one.

    Raises:
        RecordError: E801, a file cannot be deleted.
    """
    for folder, entries in _by_folder(garbage):
        lock = folder / ".lock"
        with ExitStack() as stack:
            if lock.is_file():
                stack.enter_context(hold_lock(lock, wait=True))
            stack.enter_context(writing(folder))
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
