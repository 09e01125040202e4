"""IP-Adapters in Stable Diffusion 3: diffusers' `SD3IPAdapterMixin` (`loaders/transformer_sd3.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterTimeImageProjection

from recipe_runner.runtime.ip_adapter.encode import EmbeddingPair
from recipe_runner.runtime.ip_adapter.projection import Built, filled, joined
from recipe_runner.weights.ip_adapter import IpAdapterLayout


class Sd3Backend:
    """A transformer of Stable Diffusion 3: a processor for each attention, and one projection as `image_proj`."""

    def projection(self, layout: IpAdapterLayout) -> Any:
        """The image projection of a file, without values."""
        sizes = layout.sizes.resampler
        if sizes is None:
            message = f"BUG: {layout.name} without a resampler"
            raise AssertionError(message)
        return IPAdapterTimeImageProjection(
            embed_dim=layout.image_width,
            output_dim=layout.cross_width,
            hidden_dim=sizes.width,
            depth=sizes.depth,
            heads=sizes.heads,
            num_queries=layout.tokens,
            ffn_ratio=sizes.hidden / sizes.width,
            timestep_in_dim=layout.sizes.timesteps,
        )

    def processor(self, built: Sequence[Built], module: str) -> Any:
        """The processor of an attention, for one IP-Adapter."""
        (one,) = built
        layers = one.layers[module]
        width, features = layers["to_k_ip.weight"].shape
        with torch.device("meta"):
            made = SD3IPAdapterJointAttnProcessor2_0(
                hidden_size=width,
                ip_hidden_states_dim=features,
                head_dim=len(layers["norm_q.weight"]),
                timesteps_emb_dim=layers["norm_ip.linear.weight"].shape[1],
            )
        return filled(made, layers)

    def attach(self, denoiser: Any, projections: Sequence[Any]) -> Callable[[], None]:
        """Attach the projection to the transformer, which has no such attribute without it."""
        (projection,) = projections
        denoiser.image_proj = _BatchProjection(projection)

        def detach() -> None:
            del denoiser.image_proj

        return detach

    def scale(self, processor: Any, scales: Sequence[float]) -> None:
        """Set the scale of the IP-Adapter in an attention."""
        (processor.scale,) = scales

    def arguments(self, shown: Sequence[Sequence[EmbeddingPair]], like: Any, *, guided: bool) -> dict[str, Any]:
        """[n, images, patches, features] of a batch, or [2n, …] with the negative ones first."""
        (pairs,) = shown
        return {"ip_adapter_image_embeds": joined(pairs, like, guided=guided)}


class _BatchProjection(torch.nn.Module):
    """The projection, for any number of images, and for the half of a guided batch that skip-layer guidance runs.

    diffusers' own call passes images without a dimension for their number, and always a whole guided batch.
    """

    def __init__(self, projection: torch.nn.Module) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, embeds: torch.Tensor, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Image tokens [batch, images x tokens, features] and the timesteps' embeddings [batch, width].

        `embeds` is [batch, images, patches, features]. If it is longer than `timestep`, only its end is used, which has
        the positive embeddings.
        """
        batch = len(timestep)
        shown = embeds[len(embeds) - batch :]
        images = shown.shape[1]
        if images > 1:
            timestep = timestep.repeat_interleave(images)
        tokens, embedded = self.projection(shown.flatten(0, 1), timestep)
        return tokens.reshape(batch, -1, tokens.shape[-1]), embedded[::images]
