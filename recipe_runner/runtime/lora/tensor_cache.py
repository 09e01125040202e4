"""A byte-bounded cache of computed tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from collections.abc import Set as AbstractSet

import torch

Key = tuple[Hashable, ...]
"""What tensors are computed from."""
Tensors = tuple[torch.Tensor | None, ...]


class TensorCache:
    """Computed tensors by what they are computed from, at most `most_bytes` of them.

    Tensors are evicted in rounds, such as one change of an adapter's scale over all modules: those used in the current
    round stay, and of the others the least recently used leave first. If a round needs more than fits, the next one
    still finds the same part of it; by age alone, each tensor would evict the one that is needed next.
    """

    def __init__(self, most_bytes: int) -> None:
        """An empty cache; `most_bytes` limits the memory of all tensors."""
        self._most_bytes = most_bytes
        self._tensors: OrderedDict[Key, Tensors] = OrderedDict()
        self._rounds: dict[Key, int] = {}
        self._round = 0
        self.size_bytes = 0
        """Memory of all tensors."""

    def begin_round(self) -> None:
        """Begin a round: from now on the tensors of earlier rounds may be evicted."""
        self._round += 1

    def get(self, key: Key, make: Callable[[], Tensors]) -> Tensors:
        """The tensors under `key`, else those that `make` computes."""
        found = self._tensors.get(key)
        if found is None:
            found = make()
            if not self._has_room(_size_bytes(found)):
                return found
            self._tensors[key] = found
            self.size_bytes += _size_bytes(found)
        self._tensors.move_to_end(key)
        self._rounds[key] = self._round
        return found

    def forget(self, gone: AbstractSet[Hashable]) -> None:
        """Drop all tensors that are computed from a member of `gone`."""
        for key in tuple(self._tensors):
            if not gone.isdisjoint(key):
                self._drop(key)

    def _has_room(self, size_bytes: int) -> bool:
        """Whether so many bytes more fit, after evicting the least recently used tensors of earlier rounds."""
        while self.size_bytes + size_bytes > self._most_bytes:
            oldest = next(iter(self._tensors), None)
            if oldest is None or self._rounds[oldest] == self._round:
                return False
            self._drop(oldest)
        return True

    def _drop(self, key: Key) -> None:
        self.size_bytes -= _size_bytes(self._tensors.pop(key))
        del self._rounds[key]


def _size_bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
