"""Read IP-Adapter files: each tensor to the parameter it fills, so that every tensor of the file is used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from recipe_runner.runtime.load.file_guard import Watch
from recipe_runner.runtime.load.tensors import read_tensors, require_finite
from recipe_runner.sources.source import Source
from recipe_runner.weights.ip_adapter import IpAdapterLayout, read_ip_adapter

MOST_READ = 4
"""Files kept on the CPU, so that an adapter that comes back is not read again."""


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
    """IP-Adapter files that were read, by their contents."""

    def __init__(self) -> None:
        """None yet."""
        self._read: OrderedDict[str, IpAdapterFile] = OrderedDict()

    def read(self, source: Source, label: str, *, allow_pickle: bool) -> IpAdapterFile:
        """The file of `source`, whole. `label` names the adapter in messages.

        Raises:
            WeightsError: E4xx, E508, E607 when it cannot be read; E625, E640, E641 when it is no whole IP-Adapter.
        """
        if source.digest not in self._read:
            watch = Watch.begin(source)
            path: Path = source.path(source.files[0].name)
            tensors = read_tensors(path, allow_pickle=allow_pickle)
            layout = read_ip_adapter({key: tuple(tensor.shape) for key, tensor in tensors.items()}, label)
            require_finite(tensors, label)
            watch.check()
            self._read[source.digest] = IpAdapterFile(layout, tensors)
        self._read.move_to_end(source.digest)
        while len(self._read) > MOST_READ:
            self._read.popitem(last=False)
        return self._read[source.digest]

    def clear(self) -> None:
        """Let every file go."""
        self._read.clear()
