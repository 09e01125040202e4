"""Sources: the address in a recipe, and what was found there with its files' digests, or was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.canonical import Json, digest

if TYPE_CHECKING:
    from recipe_runner.weights.checkpoint.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a source. `name` is its POSIX path inside the source; `sha256` is of its bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """All that a recipe says about where something is: `model`, and what narrows it down."""

    model: str
    revision: str | None = None
    subfolder: str | None = None
    weight_name: str | None = None
    variant: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files that lie on this machine, with the address that the recipe gave for them.

    `root` is the folder that the files' names are relative to: where they lie is never part of what they are.
    Files are sorted by name. `commit` is the resolved commit of a Hub repository. `wanted` is all that the recipe says
    about where it is, where it says more than the address.
    """

    address: str
    root: Path
    files: tuple[SourceFile, ...]
    commit: str | None = None
    wanted: Address | None = None

    @property
    def written(self) -> Address:
        """All that the recipe says about where it is."""
        return self.wanted or Address(model=self.address)

    @cached_property
    def digest(self) -> str:
        """The identity of the contents: of a single file its sha256, else the digest of names and contents."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return digest([[file.name, file.sha256] for file in self.files])

    def path(self, name: str) -> Path:
        """Where the file called `name` lies."""
        return self.root / name

    def require_found(self) -> Source:
        """This source, for what needs its files."""
        return self


@dataclass(frozen=True, kw_only=True)
class FoundBase:
    """A base that was found.

    `components` maps each component of the pipeline to its library and class. `weight_name` is set for a single-file
    checkpoint; `config` is then the folder with its configuration, the recipe's or this package's, and in the latter
    case `checkpoint` is what the file's header says of it. `scheduler` are settings that a single file states itself.
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
