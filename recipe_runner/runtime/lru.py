"""Values that are dear to make, kept while there is room for them; those unused longest leave first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """At most `most` values, and with a `size` at most so much of it, though always one of them."""

    def __init__(self, most: int, size: Callable[[V], int] | None = None, most_size: int = 0) -> None:
        """Begin with none."""
        self._most = most
        self._size = size
        self._most_size = most_size
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._values)

    def __getitem__(self, key: K) -> V:
        """The value that is kept under `key`; asking does not count as using it."""
        return self._values[key]

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value under `key`, made where none is kept; what there is no room for any more leaves."""
        value = self.hold(key, make)
        self.trim()
        return value

    def hold(self, key: K, make: Callable[[], V]) -> V:
        """As `get`, but nothing leaves until `trim`."""
        if key not in self._values:
            # Making it may use this cache.
            self._values[key] = make()
        self._values.move_to_end(key)
        return self._values[key]

    def trim(self, least: int = 0) -> None:
        """Let go of what there is no room for, but for the `least` values that were used last."""
        while len(self._values) > max(self._most, least) or self._is_too_large():
            self._values.popitem(last=False)

    def clear(self) -> None:
        """Let every value go."""
        self._values.clear()

    def _is_too_large(self) -> bool:
        if self._size is None or len(self._values) <= 1:
            return False
        return sum(map(self._size, self._values.values())) > self._most_size
