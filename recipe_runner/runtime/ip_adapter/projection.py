"""An IP-Adapter on the device: its image projection, and the layers that it brings to each attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from recipe_runner.runtime.ip_adapter.encode import EmbeddingPair
from recipe_runner.runtime.ip_adapter.file import IpAdapterFile
from recipe_runner.weights.ip_adapter import AttentionPlace, IpAdapterLayout

Layers = Mapping[str, torch.Tensor]
"""What an attention's processor is filled with, by parameter."""


@dataclass(frozen=True)
class Built:
    """An IP-Adapter on the device, in the denoiser's data type: the projection, and layers by attention module.

    `landed` counts the file's tensors whose every value stands in one of them.
    """

    layout: IpAdapterLayout
    projection: Any
    layers: Mapping[str, Layers]
    landed: int


def build(
    file: IpAdapterFile,
    places: Sequence[AttentionPlace],
    projection_of: Callable[[IpAdapterLayout], Any],
    device: torch.device,
    dtype: torch.dtype,
) -> Built:
    """The modules for a file that was fitted to `places`, the denoiser's attentions."""
    state = {name: tensor.to(device, dtype) for name, tensor in file.projection().items()}
    with torch.device("meta"):
        projection = projection_of(file.layout)
    projection.load_state_dict(state, strict=True, assign=True)
    layers = {
        place.module: {name: tensor.to(device, dtype) for name, tensor in file.attention(place.number).items()}
        for place in places
        if place.acts
    }
    held = dict(projection.state_dict())
    landed = sum(
        all(
            torch.equal(held[name], part.to(device, dtype))
            for name, part in zip(names, file.tensors[key].chunk(len(names)), strict=True)
        )
        for key, names in file.layout.projection.items()
    )
    landed += sum(
        torch.equal(layers[place.module][name], file.tensors[key].to(device, dtype))
        for place in places
        if place.acts
        for name, key in file.layout.layers[place.number].items()
    )
    return Built(file.layout, projection.eval(), layers, landed)


def filled(processor: Any, layers: Layers) -> Any:
    """A processor with these values, whole."""
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
        parts = [*(pair.negative for pair in pairs if pair.negative is not None), *parts]
    return torch.cat([part.to(like.device, like.dtype) for part in parts])
