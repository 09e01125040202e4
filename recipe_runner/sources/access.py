"""What sources may use while they are found: this machine alone or also the network, and the pins of a lock.

Access is granted for a block of code and everything that it calls. `plan` and `validate` open no block, so they cannot
use the network.

    with reach(Access(network=True)):
        find_weights(Address("org/name"), folder=folder)
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
    """Receives the progress of large files, from several threads at once."""

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """`done` of `total` bytes are received; `total` is None if the server does not state it."""

    def hashing(self, name: str, done: int, total: int) -> None:
        """`done` of `total` bytes are hashed."""


class NoMeter:
    """Shows nothing."""

    def downloading(self, name: str, done: int, total: int | None) -> None:
        """Show nothing."""

    def hashing(self, name: str, done: int, total: int) -> None:
        """Show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The entry of a lock for an address: the commit of a Hub repository, and the files."""

    commit: str | None
    files: tuple[SourceFile, ...]


@dataclass(frozen=True, kw_only=True)
class Access:
    """What sources may use.

    Without `network`, only files on this machine are found. With `newest`, a branch is looked up on the Hub even if the
    cache knows its last commit. An address in `held_back` is fetched only for files that its pin does not name.

    With `headers`, the headers of weights files are fetched instead of the files, by HTTP ranges. The result is
    a folder of stand-ins (`headers_only`): plans can be checked with it, and nothing can be loaded from it.
    """

    network: bool = False
    newest: bool = False
    headers: bool = False
    pins: Mapping[Key, Pin] = field(default_factory=dict)
    held_back: frozenset[Key] = frozenset()
    meter: Meter = field(default_factory=NoMeter)

    def may_fetch(self, address: str, revision: str | None = None, names: Iterable[str] = ()) -> bool:
        """Whether these files of an address may be fetched; without `names`, whether it may be fetched as a whole."""
        key = (address, revision)
        if not self.network or key not in self.held_back:
            return self.network
        pinned = {file.name for file in self.pins[key].files}
        return any(name not in pinned for name in names)


_NONE = Access()
_ACCESS: ContextVar[Access] = ContextVar("access")


def access() -> Access:
    """The access that is granted here."""
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
    """Whether the environment allows network access: `HF_HUB_OFFLINE` counts for every source."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() not in ("1", "ON", "YES", "TRUE")
