"""Tensors that are dear to compute and will be asked for again, kept while there is room for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from collections.abc import Set as AbstractSet

import torch

Key = tuple[Hashable, ...]
"""What tensors are made of."""
Tensors = tuple[torch.Tensor | None, ...]


class TensorCache:
    """Computed tensors by what they are made of, at most so many bytes of them.

    Room is made in rounds, such as one change of an adapter's scale over all modules: what was asked for in this round
    stays, and of the rest what was unused longest leaves first. A round that asks for more than there is room for then
    still finds the same part of it next time; by age alone, each tensor would push out the one that is asked for next.
    """

    def __init__(self, most_bytes: int) -> None:
        """Begin with none; `most_bytes` is the memory that all may take."""
        self._most_bytes = most_bytes
        self._tensors: OrderedDict[Key, Tensors] = OrderedDict()
        self._rounds: dict[Key, int] = {}
        self._round = 0
        self.size_bytes = 0
        """Memory that all of them take."""

    def begin_round(self) -> None:
        """Let what was asked for until now leave when room is needed."""
        self._round += 1

    def get(self, key: Key, make: Callable[[], Tensors]) -> Tensors:
        """What is kept under `key`, or what `make` makes."""
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
        """Give up whatever is made of something of `gone`."""
        for key in [key for key in self._tensors if not gone.isdisjoint(key)]:
            self._drop(key)

    def _has_room(self, size_bytes: int) -> bool:
        """Whether so much more may be kept, once what was unused longest has left."""
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
