"""A Hub repository at one commit: what it has, what of it is here, and the rest fetched when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from recipe_runner.disk.inside import inside, is_plain_path
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.sources.access import access
from recipe_runner.sources.hub.cache import (
    Listed,
    cached_commit,
    cached_listing,
    is_as_listed,
    listed_on_disk,
    repository_folder,
)
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.weights.files.digests import cache_folder

_MOST_SHOWN = 3


def stand_in_folder(address: str, commit: str) -> Path:
    """Where the stand-ins of a repository at a commit lie."""
    return cache_folder() / "headers" / f"models--{address.replace('/', '--')}" / commit


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository at a commit. `names` are its files, all of them when `whole`; else those that are known here.

    `listing` has size and digest of each, where the cache has them. `revision` is what the recipe asked for.
    """

    address: str
    revision: str | None
    commit: str
    names: tuple[str, ...]
    listing: Mapping[str, Listed] = field(default_factory=dict)
    whole: bool = False

    @property
    def snapshot(self) -> Path:
        """The folder that the files lie in, or will: in the Hub's cache, or of stand-ins where headers are enough."""
        if access().headers:
            return stand_in_folder(self.address, self.commit)
        return self.cached

    @property
    def cached(self) -> Path:
        """The folder in the Hub's cache that whole files lie in."""
        return repository_folder(self.address) / "snapshots" / self.commit

    @property
    def root(self) -> HubFile:
        """The repository's own folder."""
        return HubFile(self, "")

    @cached_property
    def folders(self) -> Mapping[str, Sequence[str]]:
        """What each folder holds, by path; the root is ``."""
        found: dict[str, dict[str, None]] = {"": {}}
        for name in self.names:
            parent, _, last = name.rpartition("/")
            found.setdefault(parent, {})[last] = None
            while parent:
                above, _, last = parent.rpartition("/")
                found.setdefault(above, {})[last] = None
                parent = above
        return {folder: tuple(entries) for folder, entries in found.items()}

    def require(self, names: Iterable[str]) -> None:
        """Make sure that these files are here, and are the ones that the commit lists.

        Raises:
            SourceMissing: E402 they are not here, and nothing may be fetched.
            RecordError: E805 one would lie outside the folder of the commit.
            ResolutionError: E433 to E437 they cannot be fetched, or come broken; E437 they are here and broken.
        """
        absent = [name for name in names if not inside(self.snapshot, name, replaced=True).is_file()]
        if absent:
            if not access().may_fetch(self.address, self.revision, absent):
                shown = ", ".join(absent[:_MOST_SHOWN]) + (" …" if len(absent) > _MOST_SHOWN else "")
                raise not_here(self.address, self.revision, f"{_files(len(absent))} of it not there: {shown}")
            if access().headers:
                from recipe_runner.sources.headers_only import bring  # noqa: PLC0415 - imports huggingface_hub

                bring(self, absent)
            else:
                from recipe_runner.sources.hub.client import download  # noqa: PLC0415 - imports huggingface_hub

                download(self, absent)
        if access().headers:
            return
        for name in names:
            self._prove(name)

    def _prove(self, name: str) -> None:
        listed, path = self.listing.get(name), self.snapshot / name
        meter = access().meter
        if listed is None or is_as_listed(path, listed, lambda done, total: meter.hashing(name, done, total)):
            return
        message = (
            f"{self.address}: {name} is not the file that commit {self.commit[:12]} has: it was damaged or changed"
        )
        hint = f"delete {path.resolve()}; it is then fetched again"
        raise ResolutionError(Problem(code="E437", message=message, hint=hint))


@dataclass(frozen=True)
class HubFile:
    """A file or folder of a repository; see `folder.Folder`. Python files do not show: they are never fetched."""

    repository: Repository
    path: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    def __truediv__(self, name: str, /) -> Self:
        """What is called `name` in it."""
        return type(self)(self.repository, f"{self.path}/{name}" if self.path else name)

    def iterdir(self) -> Iterator[Self]:
        """What is in it."""
        for name in self.repository.folders.get(self.path, ()):
            if not name.endswith(".py"):
                yield self / name

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.path in self.repository.folders

    def is_file(self) -> bool:
        """Whether it is a file."""
        parent, _, last = self.path.rpartition("/")
        return last in self.repository.folders.get(parent, ()) and not self.is_dir()

    def is_here(self) -> bool:
        """Whether it is a file that has been fetched."""
        return (self.repository.snapshot / self.path).is_file()

    def fetched(self) -> Path:
        """Where it lies; it is fetched where it has to be."""
        self.repository.require([self.path])
        return self.repository.snapshot / self.path


def open_repository(address: str, revision: str | None) -> Repository:
    """The repository that a recipe names, at the commit that a lock pins it to or that its revision names.

    Raises:
        SourceMissing: E402 nothing of it is here, and nothing may be fetched.
        ResolutionError: E433 to E436 the Hub does not give it.
    """
    if revision is not None and not is_plain_path(revision):
        # The Hub's cache keeps a file of this name, and git has no such names.
        message = f"{address}: {revision!r} is not the name of a branch, tag or commit"
        raise ResolutionError(Problem(code="E435", message=message, hint="write the name as the Hub shows it"))
    granted = access()
    pin = granted.pins.get((address, revision))
    may_fetch = granted.may_fetch(address, revision)
    commit = pin.commit if pin else None
    if commit is None and not (may_fetch and granted.newest):
        commit = cached_commit(address, revision)
    if commit is None:
        if not may_fetch:
            raise not_here(address, revision)
        from recipe_runner.sources.hub.client import look_up  # noqa: PLC0415 - imports huggingface_hub

        commit = look_up(address, revision)
    listing = cached_listing(address, commit)
    if listing is None and may_fetch:
        from recipe_runner.sources.hub.client import fetch_listing  # noqa: PLC0415

        listing = fetch_listing(address, revision, commit)
    if listing is not None:
        return Repository(
            address=address, revision=revision, commit=commit, names=tuple(sorted(listing)), listing=listing, whole=True
        )
    snapshot = repository_folder(address) / "snapshots" / commit
    known = (
        {*listed_on_disk(snapshot), *(file.name for file in pin.files if pin)} if pin else {*listed_on_disk(snapshot)}
    )
    if not known:
        raise not_here(address, revision)
    return Repository(address=address, revision=revision, commit=commit, names=tuple(sorted(known)))


def widened(repository: Repository) -> Repository | None:
    """The same repository with all that it has, where that can be asked."""
    if repository.whole or not access().network:
        return None
    from recipe_runner.sources.hub.client import fetch_listing  # noqa: PLC0415 - imports huggingface_hub

    listing = fetch_listing(repository.address, repository.revision, repository.commit)
    return replace(repository, names=tuple(sorted(listing)), listing=listing, whole=True)


def not_here(address: str, revision: str | None, what: str = "") -> SourceMissing:
    """E402: a repository, or a part of it, would have to be fetched."""
    command = f"hf download {address}" + (f" --revision {revision}" if revision else "")
    message = f"{address}: not in the local Hub cache" + (f" at revision {revision}" if revision else "")
    if what:
        message = f"{address}: not whole in the local Hub cache ({what})"
    hint = f"`recipe-runner fetch` gets what a recipe needs, `{command}` all of it"
    if not what:
        hint += f"; if a folder was meant, write ./{address}"
    return SourceMissing(Problem(code="E402", message=message, hint=hint))


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
