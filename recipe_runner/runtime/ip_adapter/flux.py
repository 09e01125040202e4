"""IP-Adapters in Flux: diffusers' `FluxIPAdapterMixin` (`loaders/transformer_flux.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor

from recipe_runner.runtime.ip_adapter.encode import EmbeddingPair
from recipe_runner.runtime.ip_adapter.projection import Built, filled, numbered
from recipe_runner.weights.ip_adapter import IpAdapterLayout


class FluxBackend:
    """A transformer of Flux: a processor for each double block, and the projections as `encoder_hid_proj`."""

    def projection(self, layout: IpAdapterLayout) -> Any:
        """The image projection of a file, without values."""
        return ImageProjection(layout.image_width, layout.cross_width, num_image_text_embeds=layout.tokens)

    def processor(self, built: Sequence[Built], module: str) -> Any:
        """The processor of a double block's attention."""
        layers = [adapter.layers[module] for adapter in built]
        with torch.device("meta"):
            made = FluxIPAdapterAttnProcessor(1, 1, [adapter.layout.tokens for adapter in built], 1.0)
            # The class has one width of image tokens for all adapters; here each has its own.
            for index, layer in enumerate(layers):
                width, features = layer["to_k_ip.weight"].shape
                made.to_k_ip[index] = torch.nn.Linear(features, width)
                made.to_v_ip[index] = torch.nn.Linear(features, width)
        return filled(made, numbered(layers))

    def attach(self, denoiser: Any, projections: Sequence[Any]) -> Callable[[], None]:
        """Attach the projections to the transformer, which has no such attribute without them."""
        denoiser.encoder_hid_proj = MultiIPAdapterImageProjection(list(projections))

        def detach() -> None:
            del denoiser.encoder_hid_proj

        return detach

    def scale(self, processor: Any, scales: Sequence[float]) -> None:
        """Set the scale of each IP-Adapter in an attention."""
        processor.scale = list(scales)

    def arguments(self, shown: Sequence[Sequence[EmbeddingPair]], like: Any, *, guided: bool) -> dict[str, Any]:
        """[n, images, features] of a batch for each IP-Adapter; the transformer gets the negative ones separately."""
        positive, negative = [], []
        for pairs in shown:
            positive.append(_batch([pair.positive for pair in pairs], like))
            # Without negative embeddings the call would encode a black image, with an encoder that the pipeline lacks.
            negative.append(_negative_batch(pairs, like) if guided else positive[-1])
        return {"ip_adapter_image_embeds": positive, "negative_ip_adapter_image_embeds": negative}


def _negative_batch(pairs: Sequence[EmbeddingPair], like: Any) -> torch.Tensor:
    parts = [pair.negative for pair in pairs if pair.negative is not None]
    if len(parts) != len(pairs):
        message = "BUG: an image prompt of Flux without a negative embedding"
        raise AssertionError(message)
    return _batch(parts, like)


def _batch(parts: Sequence[torch.Tensor], like: Any) -> torch.Tensor:
    count = max(part.shape[1] for part in parts)
    # A negative embedding is one for all images, or one for each; repeating it does not change its weight.
    return torch.cat([part.expand(-1, count, -1).to(like.device, like.dtype) for part in parts])
