"""Read IP-Adapter files: the parameter that each tensor fills, so that every tensor of the file is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from recipe_runner.runtime.load.file_guard import unchanged
from recipe_runner.runtime.load.tensors import read_tensors, require_finite, shapes_of
from recipe_runner.runtime.lru import Lru
from recipe_runner.sources.source import Source
from recipe_runner.weights.ip_adapter import IpAdapterLayout, read_ip_adapter

MOST_READ = 4
"""Files kept on the CPU, so that an adapter that is used again is not read again."""


@dataclass(frozen=True)
class IpAdapterFile:
    """A whole file: its layout, and its tensors on the CPU by their keys."""

    layout: IpAdapterLayout
    tensors: Mapping[str, torch.Tensor]

    def projection(self) -> dict[str, torch.Tensor]:
        """The parameters of the image projection, by their names in diffusers' class."""
        found: dict[str, torch.Tensor] = {}
        for key, names in self.layout.projection.items():
            found.update(zip(names, self.tensors[key].chunk(len(names)), strict=True))
        return found

    def attention(self, number: int) -> dict[str, torch.Tensor]:
        """The parameters of the attention with this number, by their names in the processor of diffusers."""
        return {name: self.tensors[key] for name, key in self.layout.layers[number].items()}

    def lora(self, number: int, projection: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors [rank, in] and [out, rank] of the bundled LoRA at a projection of the attention with this number."""
        key = f"ip_adapter.{number}.{projection}_lora"
        return self.tensors[f"{key}.down.weight"], self.tensors[f"{key}.up.weight"]


class IpAdapterFiles:
    """A cache of IP-Adapter files by their digests."""

    def __init__(self) -> None:
        """An empty cache."""
        self._read: Lru[str, IpAdapterFile] = Lru(MOST_READ)

    def read(self, source: Source, label: str, *, allow_pickle: bool) -> IpAdapterFile:
        """The file of `source`, whole. `label` names the adapter in messages.

        Raises:
            WeightsError: E4xx, E508, E607 when it cannot be read; E625, E640, E641 when it is not a whole IP-Adapter.
        """
        return self._read.get(source.digest, lambda: _read_file(source, label, allow_pickle=allow_pickle))

    def clear(self) -> None:
        """Drop every file."""
        self._read.clear()


def _read_file(source: Source, label: str, *, allow_pickle: bool) -> IpAdapterFile:
    with unchanged(source):
        tensors = read_tensors(source.path(source.files[0].name), allow_pickle=allow_pickle)
        layout = read_ip_adapter(shapes_of(tensors), label)
        require_finite(tensors, label)
    return IpAdapterFile(layout, tensors)
