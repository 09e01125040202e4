"""Sources: the address in a recipe, and the files that were found there with their digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.canonical import Json, digest
from recipe_runner.weights.files.digests import Progress, file_sha256

if TYPE_CHECKING:
    from recipe_runner.recipe.types.base import Base, FromSource
    from recipe_runner.weights.checkpoint.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a source. `name` is its POSIX path in the source, `sha256` the digest of its bytes."""

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path, root: Path, progress: Progress | None = None) -> SourceFile:
        """The file at `path`, in a source whose folder is `root`.

        Raises:
            WeightsError: as `file_sha256`.
        """
        sha256 = file_sha256(path, progress)
        return cls(name=path.relative_to(root).as_posix(), size=path.stat().st_size, sha256=sha256)


@dataclass(frozen=True, slots=True)
class Address:
    """An address as a recipe writes it: `model`, and the keys that narrow it down."""

    model: str
    _: KW_ONLY
    revision: str | None = None
    subfolder: str | None = None
    weight_name: str | None = None
    variant: str | None = None

    @classmethod
    def of(cls, entry: FromSource | Base) -> Address:
        """The address in an entry of a recipe, which has some of these keys."""
        return cls(
            entry.model,
            revision=entry.revision,
            subfolder=getattr(entry, "subfolder", None),
            weight_name=entry.weight_name,
            variant=getattr(entry, "variant", None),
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files on this machine, with the address that the recipe gives for them.

    `root` is the folder that the files' names are relative to; the identity of the source does not depend on it.
    Files are sorted by name. `commit` is the resolved commit of a Hub repository. `wanted` is the whole address, if the
    recipe narrows it down.
    """

    address: str
    root: Path
    files: tuple[SourceFile, ...]
    commit: str | None = None
    wanted: Address | None = None

    @property
    def written(self) -> Address:
        """The whole address as the recipe writes it."""
        return self.wanted or Address(self.address)

    @cached_property
    def digest(self) -> str:
        """The identity of the contents: the sha256 of a single file, else the digest of all names and contents."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return digest([[file.name, file.sha256] for file in self.files])

    def path(self, name: str) -> Path:
        """The path of the file `name`."""
        return self.root / name

    def require_found(self) -> Source:
        """This source, for code that needs its files."""
        return self


@dataclass(frozen=True, kw_only=True)
class FoundBase:
    """A base that was found.

    `components` maps each component of the pipeline to its library and class. `weight_name` is set for a single-file
    checkpoint. Its `config` is then the folder with the configuration: the recipe's, or the one in this package, and in
    the latter case `checkpoint` is what the header of the file shows. `scheduler` has the settings that a single file
    states itself.
    """

    source: Source
    pipeline: str
    components: Mapping[str, tuple[str, str]]
    weight_name: str | None = None
    config: Source | None = None
    checkpoint: Checkpoint | None = None
    scheduler: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FoundComponent:
    """A replacement for a component: a folder (`subfolder` of the source, or its root), or the file `weight_name`."""

    source: Source
    subfolder: str | None = None
    weight_name: str | None = None
