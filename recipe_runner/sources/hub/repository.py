"""A Hub repository at one commit, as a record: the files it has, and their paths on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from recipe_runner.sources.access import access
from recipe_runner.sources.hub.cache import Listed, repository_folder
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.weights.files.digests import cache_folder


def stand_in_folder(address: str, commit: str) -> Path:
    """The folder with the stand-ins of a repository at a commit."""
    return cache_folder() / "headers" / f"models--{address.replace('/', '--')}" / commit


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository at a commit. `names` are all of its files if `whole`, else the files known on this machine.

    `listing` has the size and digest of each file, if the cache has them. `revision` is the one in the recipe.
    """

    address: str
    revision: str | None
    commit: str
    names: tuple[str, ...]
    listing: Mapping[str, Listed] = field(default_factory=dict)
    whole: bool = False

    @property
    def snapshot(self) -> Path:
        """The folder of the files: in the Hub's cache, or of stand-ins where headers are enough."""
        if access().headers:
            return stand_in_folder(self.address, self.commit)
        return self.cached

    @property
    def cached(self) -> Path:
        """The folder of whole files in the Hub's cache."""
        return repository_folder(self.address) / "snapshots" / self.commit

    @cached_property
    def folders(self) -> Mapping[str, Sequence[str]]:
        """The names in each folder, by the folder's path; the root is ``."""
        found: dict[str, dict[str, None]] = {"": {}}
        for name in self.names:
            parent, _, last = name.rpartition("/")
            found.setdefault(parent, {})[last] = None
            while parent:
                above, _, last = parent.rpartition("/")
                found.setdefault(above, {})[last] = None
                parent = above
        return {folder: tuple(entries) for folder, entries in found.items()}


@dataclass(frozen=True)
class HubFile:
    """A file or folder of a repository; see `folder.Folder`. Python files are hidden: they are never fetched.

    `fetch` makes sure that files of the repository are on this machine (`fetch.require`).
    """

    repository: Repository
    path: str
    fetch: Callable[[Repository, Sequence[str]], None]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def __truediv__(self, name: str, /) -> Self:
        """The file or folder `name` in this folder."""
        path = f"{self.path}/{name}" if self.path else name
        return type(self)(self.repository, path, self.fetch)

    def iterdir(self) -> Iterator[Self]:
        """The files and folders in this folder."""
        for name in self.repository.folders.get(self.path, ()):
            if not name.endswith(".py"):
                yield self / name

    def is_dir(self) -> bool:
        """Whether this is a folder."""
        return self.path in self.repository.folders

    def is_file(self) -> bool:
        """Whether this is a file."""
        parent, _, last = self.path.rpartition("/")
        return last in self.repository.folders.get(parent, ()) and not self.is_dir()

    def is_here(self) -> bool:
        """Whether this is a file that has been fetched."""
        return (self.repository.snapshot / self.path).is_file()

    def fetched(self) -> Path:
        """The path on this machine; fetches the file if needed."""
        self.fetch(self.repository, [self.path])
        return self.repository.snapshot / self.path


def not_here(address: str, revision: str | None) -> SourceMissing:
    """E402: the repository would have to be fetched."""
    message = f"{address}: not in the local Hub cache"
    if revision:
        message += f" at revision {revision}"
    return SourceMissing.of(
        "E402", message, f"{_fetch_hint(address, revision)}; if a folder was meant, write ./{address}"
    )


def partly_here(address: str, revision: str | None, what: str) -> SourceMissing:
    """E402: a part of the repository would have to be fetched; `what` says which."""
    message = f"{address}: not whole in the local Hub cache ({what})"
    return SourceMissing.of("E402", message, _fetch_hint(address, revision))


def _fetch_hint(address: str, revision: str | None) -> str:
    command = f"hf download {address}"
    if revision:
        command += f" --revision {revision}"
    return f"`recipe-runner fetch` downloads what a recipe needs, `{command}` the whole repository"
