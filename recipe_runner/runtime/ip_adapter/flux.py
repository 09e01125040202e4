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
        layers = [each.layers[module] for each in built]
        with torch.device("meta"):
            made = FluxIPAdapterAttnProcessor(1, 1, [each.layout.tokens for each in built], 1.0)
            # The class has one width of image tokens for all; here each adapter has its own.
            for index, each in enumerate(layers):
                width, features = each["to_k_ip.weight"].shape
                made.to_k_ip[index] = torch.nn.Linear(features, width)
                made.to_v_ip[index] = torch.nn.Linear(features, width)
        return filled(made, numbered(layers))

    def attach(self, denoiser: Any, projections: Sequence[Any]) -> Callable[[], None]:
        """Put the projections into the transformer, which has no such attribute without them."""
        denoiser.encoder_hid_proj = MultiIPAdapterImageProjection(list(projections))

        def detach() -> None:
            del denoiser.encoder_hid_proj

        return detach

    def scale(self, processor: Any, scales: Sequence[float]) -> None:
        """Set the scale of each IP-Adapter in an attention."""
        processor.scale = list(scales)

    def arguments(self, shown: Sequence[Sequence[EmbeddingPair]], like: Any, *, guided: bool) -> dict[str, Any]:
        """[n, images, features] of a batch for each IP-Adapter; the negative ones go through the transformer apart."""
        positive = [_whole([pair.positive for pair in pairs], like) for pairs in shown]
        # Without them the call would encode a black picture, with an encoder that the pipeline does not have.
        negative = [_whole([_negative(pair) for pair in pairs], like) for pairs in shown] if guided else positive
        return {"ip_adapter_image_embeds": positive, "negative_ip_adapter_image_embeds": negative}


def _negative(pair: EmbeddingPair) -> torch.Tensor:
    if pair.negative is None:
        message = "BUG: an image prompt of Flux without a negative one"
        raise AssertionError(message)
    return pair.negative


def _whole(parts: Sequence[torch.Tensor], like: Any) -> torch.Tensor:
    count = max(part.shape[1] for part in parts)
    # A negative embedding is one for all images, or one for each; as often as wanted it weighs the same.
    spread = [part if part.shape[1] == count else part.expand(-1, count, -1) for part in parts]
    return torch.cat([part.to(like.device, like.dtype) for part in spread])
