"""Bring the files that a lock names onto this machine, and prove each by its sha256."""

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
"""How the address of a configuration that comes with this package begins: it is always here."""


def fetch_locked(lock: Lock, folder: Path, meter: Meter) -> None:
    """Fetch what the entries of a lock name and is not here yet. `folder` is the recipe's.

    Every entry is tried, so that one that fails keeps no other from coming.

    Raises:
        ResolutionError: E401 a local file is gone; E430 a file is not the one that the lock names; E433 to E438 one
            cannot be fetched; all of them.
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
    if located.repository is not None:
        located.repository.require([file.name for file in entry.files])
    for file in entry.files:
        if fault := fault_of(located.root, file):
            hint = f"put the file back that was locked, or delete {located.root / file.name} to have it fetched again"
            if located.repository is None:
                hint = "put the file back that was locked, or accept the new one with `recipe-runner lock`"
            yield Problem(code="E430", message=f"{role}: {entry.address}: {fault}", hint=hint)


def locate_locked(address: str, folder: Path, revision: str | None) -> Located:
    """Where the files of a locked source lie; insightface's models lie where insightface has them.

    Raises:
        RecipeRunnerError: as `locate`; SourceMissing E651.
    """
    return locate_face_models() if address == FACE_MODELS else locate(address, folder, revision)


def locked_address(entry: LockedSource) -> str:
    """The address of a locked source: one without a commit is no Hub repository, however it is written."""
    local = entry.commit is None and "://" not in entry.address and not is_path(entry.address)
    local = local and entry.address != FACE_MODELS
    return f"./{entry.address}" if local else entry.address


def is_bundled(entry: LockedSource) -> bool:
    """Whether a source is a configuration that comes with this package."""
    return entry.address.startswith(BUNDLED)


def fault_of(root: Path, file: LockedFile) -> str | None:
    """Why a file below `root` is not the one that a lock names; None when it is.

    Raises:
        WeightsError: E414, E415 it cannot be read.
    """
    path, meter = root / file.name, access().meter
    if not path.is_file():
        return f"{file.name} is not there"
    sha256 = file_sha256(path, lambda done, total: meter.hashing(file.name, done, total))
    if sha256 == file.sha256:
        return None
    return f"{file.name} is another file: sha256 {sha256[:12]}, the lock says {file.sha256[:12]}"
