"""The modules that an IP-Adapter puts into a UNet: its image projection, and keys and values for each attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import (
    ImageProjection,
    IPAdapterFaceIDImageProjection,
    IPAdapterFaceIDPlusImageProjection,
    IPAdapterFullImageProjection,
    IPAdapterPlusImageProjection,
)

from recipe_runner.runtime.ip_adapter_file import IpAdapterFile
from recipe_runner.weights.ip_adapter import AttentionPlace, IpAdapterLayout


@dataclass(frozen=True)
class Built:
    """An IP-Adapter on the device, in the UNet's data type: the projection, and a pair of layers by attention module.

    `landed` counts the file's tensors whose every value stands in one of them.
    """

    layout: IpAdapterLayout
    projection: Any
    layers: Mapping[str, tuple[torch.nn.Linear, torch.nn.Linear]]
    landed: int


def build(file: IpAdapterFile, places: Sequence[AttentionPlace], device: torch.device, dtype: torch.dtype) -> Built:
    """The modules for a file that was fitted to `places`, the UNet's attentions."""
    state = {name: tensor.to(device, dtype) for name, tensor in file.projection().items()}
    with torch.device("meta"):
        projection = _projection(file.layout)
    projection.load_state_dict(state, strict=True, assign=True)
    layers = {
        place.module: (_linear(keys.to(device, dtype)), _linear(values.to(device, dtype)))
        for place in places
        if place.cross
        for keys, values in [file.key_value(place.number)]
    }
    held = dict(projection.state_dict())
    landed = sum(
        all(
            torch.equal(held[name], part.to(device, dtype))
            for name, part in zip(names, file.tensors[key].chunk(len(names)), strict=True)
        )
        for key, names in file.layout.projection.items()
    )
    for place in places:
        pair = layers.get(place.module, ())
        landed += sum(
            torch.equal(layer.weight, tensor.to(device, dtype))
            for layer, tensor in zip(pair, file.key_value(place.number) if pair else (), strict=True)
        )
    return Built(file.layout, projection.eval(), layers, landed)


def processor(built: Sequence[Built], module: str) -> Any:
    """An attention processor with the layers of several IP-Adapters, in this order, as diffusers makes it."""
    pairs = [each.layers[module] for each in built]
    width, features = pairs[0][0].weight.shape
    with torch.device("meta"):
        made = IPAdapterAttnProcessor2_0(width, features, [each.layout.tokens for each in built], 1.0)
    made.to_k_ip = torch.nn.ModuleList([keys for keys, _ in pairs])
    made.to_v_ip = torch.nn.ModuleList([values for _, values in pairs])
    return made.eval()


def _linear(weight: torch.Tensor) -> torch.nn.Linear:
    with torch.device("meta"):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = torch.nn.Parameter(weight)
    return layer


def _projection(layout: IpAdapterLayout) -> Any:
    cross, read, face = layout.cross_width, layout.image_width, layout.face_width
    hidden = layout.projection_hidden or 0
    if layout.variant == "base":
        return ImageProjection(read, cross, num_image_text_embeds=layout.tokens)
    if layout.variant == "full":
        return IPAdapterFullImageProjection(read, cross)
    if layout.variant == "faceid":
        return IPAdapterFaceIDImageProjection(face, cross, mult=hidden / (face or 1), num_tokens=layout.tokens)
    sizes = layout.resampler
    if sizes is None:
        message = f"BUG: {layout.name} without a resampler"
        raise AssertionError(message)
    ratio = sizes.hidden / sizes.width
    if layout.variant == "plus":
        return IPAdapterPlusImageProjection(
            embed_dims=read,
            output_dims=cross,
            hidden_dims=sizes.width,
            depth=sizes.depth,
            heads=sizes.heads,
            num_queries=layout.tokens,
            ffn_ratio=ratio,
        )
    return IPAdapterFaceIDPlusImageProjection(
        embed_dims=sizes.width,
        output_dims=cross,
        hidden_dims=read,
        id_embeddings_dim=face,
        depth=sizes.depth,
        heads=sizes.heads,
        num_tokens=layout.tokens,
        ffn_ratio=ratio,
        ffproj_ratio=hidden / (face or 1),
    )
