"""Open a Hub repository at a commit, and fetch the files that are missing on this machine.

huggingface_hub is imported only when something is fetched, so that `validate` and `plan` start without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from recipe_runner.disk.inside import inside, is_plain_path
from recipe_runner.problems.problem import ResolutionError
from recipe_runner.sources.access import access
from recipe_runner.sources.hub.cache import (
    cached_commit,
    cached_listing,
    is_as_listed,
    listed_on_disk,
    repository_folder,
)
from recipe_runner.sources.hub.repository import HubFile, Repository, not_here, partly_here

_MOST_SHOWN = 3


def open_repository(address: str, revision: str | None) -> Repository:
    """The repository that a recipe names, at the commit that a lock pins or that its revision names.

    Raises:
        SourceMissing: E402 no file of it is on this machine, and nothing may be fetched.
        ResolutionError: E433 to E436 the Hub does not provide it.
    """
    if revision is not None and not is_plain_path(revision):
        # The Hub's cache keeps a file of this name, and git has no such names.
        message = f"{address}: {revision!r} is not the name of a branch, tag or commit"
        raise ResolutionError.of("E435", message, "write the name as the Hub shows it")
    commit = _commit(address, revision)
    repository = Repository(address=address, revision=revision, commit=commit, names=())
    listing = cached_listing(address, commit)
    if listing is not None:
        return replace(repository, names=tuple(sorted(listing)), listing=listing, whole=True)
    if access().may_fetch(address, revision):
        return _with_listing(repository)
    known = set(listed_on_disk(repository_folder(address) / "snapshots" / commit))
    pin = access().pins.get((address, revision))
    if pin is not None:
        known.update(file.name for file in pin.files)
    if not known:
        raise not_here(address, revision)
    return replace(repository, names=tuple(sorted(known)))


def _commit(address: str, revision: str | None) -> str:
    """The pinned commit, else the commit of the revision in the cache or on the Hub."""
    granted = access()
    pin = granted.pins.get((address, revision))
    if pin is not None and pin.commit is not None:
        return pin.commit
    may_fetch = granted.may_fetch(address, revision)
    if not (may_fetch and granted.newest):
        commit = cached_commit(address, revision)
        if commit is not None:
            return commit
    if not may_fetch:
        raise not_here(address, revision)
    from recipe_runner.sources.hub.client import look_up  # noqa: PLC0415 - imports huggingface_hub

    return look_up(address, revision)


def widened(repository: Repository) -> Repository | None:
    """The same repository with all of its files; None if it has them already or nothing may be fetched."""
    if repository.whole or not access().network:
        return None
    return _with_listing(repository)


def _with_listing(repository: Repository) -> Repository:
    """The repository with all files that the Hub lists at its commit."""
    from recipe_runner.sources.hub.client import fetch_listing  # noqa: PLC0415 - imports huggingface_hub

    listing = fetch_listing(repository.address, repository.revision, repository.commit)
    return replace(repository, names=tuple(sorted(listing)), listing=listing, whole=True)


def root_folder(repository: Repository) -> HubFile:
    """The root folder of a repository."""
    return HubFile(repository, "", require)


def require(repository: Repository, names: Sequence[str]) -> None:
    """Make sure that files are on this machine and match what the commit lists.

    Raises:
        SourceMissing: E402 files are missing, and nothing may be fetched.
        RecordError: E805 a path leads out of the folder of the commit.
        ResolutionError: E433 to E437 they cannot be fetched, or arrive broken; E437 a file on this machine is broken.
    """
    absent = [name for name in names if not inside(repository.snapshot, name, replaced=True).is_file()]
    if absent:
        _fetch(repository, absent)
    if access().headers:
        return
    for name in names:
        _prove(repository, name)


def _fetch(repository: Repository, absent: Sequence[str]) -> None:
    """Fetch files that are missing, or their headers where these are enough."""
    if not access().may_fetch(repository.address, repository.revision, absent):
        raise partly_here(repository.address, repository.revision, _absent(absent))
    if access().headers:
        from recipe_runner.sources.headers_only import bring  # noqa: PLC0415 - imports huggingface_hub

        bring(repository, absent)
    else:
        from recipe_runner.sources.hub.client import download  # noqa: PLC0415 - imports huggingface_hub

        download(repository, absent)


def _absent(names: Sequence[str]) -> str:
    """How many files are missing, and the first of them."""
    shown = ", ".join(names[:_MOST_SHOWN])
    if len(names) == 1:
        return f"1 file missing: {shown}"
    if len(names) > _MOST_SHOWN:
        shown += " …"
    return f"{len(names)} files missing: {shown}"


def _prove(repository: Repository, name: str) -> None:
    """Raise E437 if the file on this machine does not match what the commit lists."""
    listed, path = repository.listing.get(name), repository.snapshot / name
    if listed is None or is_as_listed(path, listed, partial(access().meter.hashing, name)):
        return
    commit = repository.commit[:12]
    message = f"{repository.address}: {name} is not the file that commit {commit} has: it was damaged or changed"
    raise ResolutionError.of("E437", message, f"delete {path.resolve()}; it is then fetched again")
