"""A least-recently-used cache, bounded by a number of values and optionally by their size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """At most `most` values, and with `size` at most `most_size` in total, but always one value."""

    def __init__(self, most: int, size: Callable[[V], int] | None = None, most_size: int = 0) -> None:
        """An empty cache."""
        self._most = most
        self._size = size
        self._most_size = most_size
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        """The number of values."""
        return len(self._values)

    def __getitem__(self, key: K) -> V:
        """The value under `key`; this does not count as a use."""
        return self._values[key]

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value under `key`, made by `make` if it is missing; values that no longer fit leave."""
        value = self.hold(key, make)
        self.trim()
        return value

    def hold(self, key: K, make: Callable[[], V]) -> V:
        """Like `get`, but no value leaves until `trim`."""
        if key not in self._values:
            # `make` may use this cache too.
            self._values[key] = make()
        self._values.move_to_end(key)
        return self._values[key]

    def trim(self, least: int = 0) -> None:
        """Drop the least recently used values that do not fit, but keep the `least` values that were used last."""
        while len(self._values) > max(self._most, least) or self._is_too_large():
            self._values.popitem(last=False)

    def clear(self) -> None:
        """Drop every value."""
        self._values.clear()

    def _is_too_large(self) -> bool:
        if self._size is None or len(self._values) <= 1:
            return False
        return sum(map(self._size, self._values.values())) > self._most_size
