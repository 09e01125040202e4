"""Fetch the files of a lock, and check the sha256 of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recipe_runner.lock.compare import pins_of
from recipe_runner.lock.file import Lock, LockedFile, LockedSource
from recipe_runner.problems.problem import Problem, RecipeRunnerError, ResolutionError
from recipe_runner.sources.access import Access, Meter, access, reach
from recipe_runner.sources.address import Located, is_path, locate
from recipe_runner.sources.face_models import ADDRESS as FACE_MODELS
from recipe_runner.sources.face_models import locate_face_models
from recipe_runner.weights.files.digests import file_sha256

BUNDLED = "recipe_runner:"
"""Start of the address of a configuration that this package ships: it is never fetched."""


def fetch_locked(lock: Lock, folder: Path, meter: Meter) -> None:
    """Fetch the files of a lock that are not on this machine. `folder` is the recipe's.

    Every entry is tried, also after one has failed.

    Raises:
        ResolutionError: E401 a local file is missing; E430 a file differs from the lock; E433 to E438 a file cannot be
            fetched. It has the problems of all entries.
        RecordError: E801 it cannot be written.
    """
    problems: list[Problem] = []
    with reach(Access(network=True, pins=pins_of(lock), meter=meter)):
        for role, entry in lock.sources.items():
            try:
                problems.extend(_fetch(role, entry, folder))
            except RecipeRunnerError as error:
                problems.extend(error.problems)
    if problems:
        raise ResolutionError(*dict.fromkeys(problems))


def _fetch(role: str, entry: LockedSource, folder: Path) -> Iterator[Problem]:
    if is_bundled(entry):
        return
    located = locate_locked(locked_address(entry), folder, entry.revision)
    located.fetch(entry.file_names)
    for file in entry.files:
        fault = fault_of(located.root, file)
        if fault is not None:
            hint = f"restore the locked file, or delete {located.root / file.name} to fetch it again"
            if located.repository is None:
                hint = "restore the locked file, or accept the new one with `recipe-runner lock`"
            yield Problem(code="E430", message=f"{role}: {entry.address}: {fault}", hint=hint)


def locate_locked(address: str, folder: Path, revision: str | None) -> Located:
    """The place of a locked source's files; insightface's models are in insightface's own folder.

    Raises:
        RecipeRunnerError: as `locate`; SourceMissing E651.
    """
    if address == FACE_MODELS:
        return locate_face_models()
    return locate(address, folder, revision)


def locked_address(entry: LockedSource) -> str:
    """The address of a locked source; without a commit it is a path, even if it looks like a Hub repository."""
    address = entry.address
    if entry.commit is not None or "://" in address or is_path(address) or address == FACE_MODELS:
        return address
    return f"./{address}"


def is_bundled(entry: LockedSource) -> bool:
    """Whether a source is a configuration that this package ships."""
    return entry.address.startswith(BUNDLED)


def fault_of(root: Path, file: LockedFile) -> str | None:
    """How a file below `root` differs from the lock's; None when it is the same.

    Raises:
        WeightsError: E414, E415 it cannot be read.
    """
    path, meter = root / file.name, access().meter
    if not path.is_file():
        return f"{file.name} is missing"
    sha256 = file_sha256(path, lambda done, total: meter.hashing(file.name, done, total))
    if sha256 == file.sha256:
        return None
    return f"{file.name}: sha256 mismatch: got {sha256[:12]}, lock expects {file.sha256[:12]}"
