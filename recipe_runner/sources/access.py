"""What may be reached while sources are found: this machine alone, or the network too, and what a lock pins.

It holds for everything that is found in a block, whoever finds it: `plan` and `validate` open no block, so that they
can touch no network.

    with reach(Access(network=True)):
        find_weights("org/name", folder=folder)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from recipe_runner.sources.source import SourceFile

Key = tuple[str, str | None]
"""An address and a revision, as a recipe writes them."""


class Meter(Protocol):
    """Told how far the reading of large files is; from several threads at once."""

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """So many bytes of `total` (None when the server does not say) have come."""

    def hashing(self, name: str, done: int, total: int) -> None:
        """So many bytes of `total` are hashed."""


class NoMeter:
    """Shows nothing."""

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """Show nothing."""

    def hashing(self, name: str, done: int, total: int) -> None:
        """Show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What a lock says of an address: the commit of a Hub repository, and the files that it names there."""

    commit: str | None
    files: tuple[SourceFile, ...]


@dataclass(frozen=True, kw_only=True)
class Access:
    """What may be reached.

    Without `network` only what lies on this machine is found. With `newest` a branch is looked up on the Hub, also when
    the cache remembers where it stood. What is `held_back` is not fetched as long as the files that its pin names
    suffice.

    With `headers` the headers of weights files are fetched in the place of the files, by HTTP ranges: what is found is
    then a folder of stand-ins (`stand_ins`), which plans can be judged by and nothing can be loaded from.
    """

    network: bool = False
    newest: bool = False
    headers: bool = False
    pins: Mapping[Key, Pin] = field(default_factory=dict)
    held_back: frozenset[Key] = frozenset()
    meter: Meter = field(default_factory=NoMeter)

    def may_fetch(self, address: str, revision: str | None = None, names: Iterable[str] = ()) -> bool:
        """Whether files of what a recipe writes so may be fetched; without `names`, all that it has."""
        key = (address, revision)
        if not self.network or key not in self.held_back:
            return self.network
        pinned = {file.name for file in self.pins[key].files}
        return any(name not in pinned for name in names)


_NONE = Access()
_ACCESS: ContextVar[Access] = ContextVar("access")


def access() -> Access:
    """What may be reached here."""
    return _ACCESS.get(_NONE)


@contextmanager
def reach(granted: Access) -> Iterator[None]:
    """Grant access for the length of a block."""
    token = _ACCESS.set(granted)
    try:
        yield
    finally:
        _ACCESS.reset(token)


def is_online() -> bool:
    """Whether the environment lets this process reach out: `HF_HUB_OFFLINE` counts for every source."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() not in ("1", "ON", "YES", "TRUE")
