"""An IP-Adapter on the device: its image projection, and its layers for each attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from recipe_runner.runtime.ip_adapter.encode import EmbeddingPair
from recipe_runner.runtime.ip_adapter.file import IpAdapterFile
from recipe_runner.weights.ip_adapter import AttentionPlace, IpAdapterLayout

Layers = Mapping[str, torch.Tensor]
"""Values of an attention's processor, by parameter."""


@dataclass(frozen=True)
class Built:
    """An IP-Adapter on the device, in the denoiser's data type: the projection, and layers by attention module.

    `applied` counts the file's tensors of which the projection or a layer holds every value.
    """

    layout: IpAdapterLayout
    projection: Any
    layers: Mapping[str, Layers]
    applied: int


def build(
    file: IpAdapterFile,
    places: Sequence[AttentionPlace],
    projection_of: Callable[[IpAdapterLayout], Any],
    device: torch.device,
    dtype: torch.dtype,
) -> Built:
    """The modules for a file that fits `places`, the denoiser's attentions."""

    def cast(tensors: Mapping[str, torch.Tensor]) -> Layers:
        return {name: tensor.to(device, dtype) for name, tensor in tensors.items()}

    with torch.device("meta"):
        projection = projection_of(file.layout)
    projection.load_state_dict(cast(file.projection()), strict=True, assign=True)
    layers = {}
    applied = _applied_to_projection(projection.state_dict(), file)
    for place in places:
        if place.acts:
            layer = layers[place.module] = cast(file.attention(place.number))
            for name, key in file.layout.layers[place.number].items():
                applied += _holds(layer[name], file.tensors[key])
    return Built(file.layout, projection.eval(), layers, applied)


def _applied_to_projection(held: Mapping[str, torch.Tensor], file: IpAdapterFile) -> int:
    """How many tensors of the file the projection's parameters hold, each by the parameters of its chunks."""
    applied = 0
    for key, names in file.layout.projection.items():
        chunks = file.tensors[key].chunk(len(names))
        applied += all(map(_holds, map(held.__getitem__, names), chunks))
    return applied


def _holds(held: torch.Tensor, tensor: torch.Tensor) -> bool:
    return torch.equal(held, tensor.to(held.device, held.dtype))


def filled(processor: Any, layers: Layers) -> Any:
    """A processor, of which `layers` fill every parameter."""
    processor.load_state_dict(dict(layers), strict=True, assign=True)
    return processor.eval()


def numbered(layers: Sequence[Layers]) -> Layers:
    """The layers of several IP-Adapters under the names of processors that hold lists: `to_k_ip.0.weight`."""
    found = {}
    for index, each in enumerate(layers):
        for name, tensor in each.items():
            layer, _, end = name.partition(".")
            found[f"{layer}.{index}.{end}"] = tensor
    return found


def joined(pairs: Sequence[EmbeddingPair], like: Any, *, guided: bool) -> torch.Tensor:
    """[n, …] of a batch, or [2n, …] with the negative ones first, on the device and in the data type of a denoiser."""
    parts = [pair.positive for pair in pairs]
    if guided:
        negative = [pair.negative for pair in pairs if pair.negative is not None]
        parts = [*negative, *parts]
    return torch.cat([part.to(like.device, like.dtype) for part in parts])
