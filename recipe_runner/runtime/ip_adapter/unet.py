"""IP-Adapters in a UNet: diffusers' `IPAdapterMixin` (`loaders/unet.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import (
    ImageProjection,
    IPAdapterFaceIDImageProjection,
    IPAdapterFaceIDPlusImageProjection,
    IPAdapterFullImageProjection,
    IPAdapterPlusImageProjection,
    MultiIPAdapterImageProjection,
)

from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.ip_adapter.encode import EmbeddingPair
from recipe_runner.runtime.ip_adapter.projection import Built, filled, joined, numbered
from recipe_runner.weights.ip_adapter import IpAdapterLayout


class UNetBackend:
    """A UNet: a processor for each cross-attention, and the projections as `encoder_hid_proj`."""

    def projection(self, layout: IpAdapterLayout) -> Any:
        """The image projection of a file, without values."""
        cross, read, face = layout.cross_width, layout.image_width, layout.face_width
        hidden = layout.sizes.hidden or 0
        if layout.variant == "base":
            return ImageProjection(read, cross, num_image_text_embeds=layout.tokens)
        if layout.variant == "full":
            return IPAdapterFullImageProjection(read, cross)
        if layout.variant == "faceid":
            return IPAdapterFaceIDImageProjection(face, cross, mult=hidden / (face or 1), num_tokens=layout.tokens)
        sizes = layout.sizes.resampler
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

    def processor(self, built: Sequence[Built], module: str) -> Any:
        """The processor of a cross-attention."""
        width, features = built[0].layers[module]["to_k_ip.weight"].shape
        with torch.device("meta"):
            made = IPAdapterAttnProcessor2_0(width, features, [adapter.layout.tokens for adapter in built], 1.0)
        return filled(made, numbered([adapter.layers[module] for adapter in built]))

    def attach(self, denoiser: Any, projections: Sequence[Any]) -> Callable[[], None]:
        """Attach the projections to a UNet.

        Raises:
            WeightsError: E642 it has one of its own.
        """
        if denoiser.encoder_hid_proj is not None:
            raise WeightsError.of(
                "E642",
                f"the UNet has a projection of its own ({denoiser.config.encoder_hid_dim_type})",
                "IP-Adapters are for UNets that read only text",
            )
        before = denoiser.config.encoder_hid_dim_type

        def detach() -> None:
            denoiser.config.encoder_hid_dim_type = before
            # Assigning None to a module's attribute would keep its name among the modules.
            del denoiser.encoder_hid_proj
            denoiser.encoder_hid_proj = None

        denoiser.encoder_hid_proj = MultiIPAdapterImageProjection(list(projections))
        denoiser.config.encoder_hid_dim_type = "ip_image_proj"
        return detach

    def scale(self, processor: Any, scales: Sequence[float]) -> None:
        """Set the scale of each IP-Adapter in an attention."""
        processor.scale = list(scales)

    def arguments(self, shown: Sequence[Sequence[EmbeddingPair]], like: Any, *, guided: bool) -> dict[str, Any]:
        """[n, …] of a batch for each IP-Adapter, or [2n, …] with the negative ones first."""
        return {"ip_adapter_image_embeds": [joined(pairs, like, guided=guided) for pairs in shown]}
