"""What an IP-Adapter file is: its variant, its sizes, and where each of its tensors belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from recipe_runner.weights.lora.family import CROSS_ATTENTION

Variant = Literal["base", "plus", "full", "faceid", "faceid_plus"]

NAMES: Mapping[Variant, str] = {
    "base": "IP-Adapter",
    "plus": "IP-Adapter Plus",
    "full": "IP-Adapter Full Face",
    "faceid": "IP-Adapter FaceID",
    "faceid_plus": "IP-Adapter FaceID Plus",
}

Projection = Literal["to_q", "to_k", "to_v", "to_out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampler:
    """The perceiver resampler of the Plus kinds: `depth` blocks of `heads` heads of 64 channels on `width` features.

    `hidden` is the width between the two layers of a block's feed-forward network.
    """

    depth: int
    heads: int
    width: int
    hidden: int


@dataclass(frozen=True, kw_only=True)
class IpAdapterLayout:
    """An IP-Adapter for a UNet, in the layout of its authors (https://github.com/tencent-ailab/IP-Adapter).

    Attributes:
        variant: which image projection it has.
        tokens: image tokens for each image; 0 for Full Face, which makes one of each of the encoder's patches.
        image_width: features that it reads of the image encoder: those of the projected embedding (base), else of the
            hidden states before the last layer; None for FaceID, which reads no image encoder.
        face_width: features of the face embedding (512 of insightface's models); None where it reads none.
        cross_width: features of the text that its UNet reads, which is the width of an image token.
        resampler: the sizes of the resampler, of the Plus kinds.
        projection_hidden: width between the projection's two layers, of Full Face and FaceID.
        projection: each tensor of the image projection by its key in the file, with the parameters of diffusers' class
            that it fills: two where it is cut in halves along its first dimension.
        attentions: the UNet's cross-attentions by their number in the file (1, 3, 5, …) with the width of their keys.
        lora: of FaceID's bundled LoRA the rank, by number of the attention and projection.
        faults: tensors that are missing, unexpected or of another shape, in words; a file with any is not whole.
        tensor_count: tensors of the file.
    """

    variant: Variant
    tokens: int
    image_width: int | None
    face_width: int | None
    cross_width: int
    resampler: Resampler | None
    projection_hidden: int | None
    projection: Mapping[str, tuple[str, ...]]
    attentions: Mapping[int, int]
    lora: Mapping[tuple[int, Projection], int]
    faults: tuple[str, ...]
    tensor_count: int

    @property
    def name(self) -> str:
        """What people call it."""
        return NAMES[self.variant]

    @property
    def family(self) -> str:
        """The family of UNets that it was trained for, as its width tells."""
        return CROSS_ATTENTION.get(self.cross_width, f"a UNet of cross-attention width {self.cross_width}")

    @property
    def reads_hidden_states(self) -> bool:
        """Whether it reads the image encoder's hidden states, one for each patch, and not the projected embedding."""
        return self.variant in ("plus", "full", "faceid_plus")

    def landed(self) -> dict[str, int]:
        """By component, how many tensors of a whole file land there; a LoRA's factors are tensors of the UNet."""
        return {"unet": 2 * len(self.attentions) + 2 * len(self.lora), "image_proj": len(self.projection)}
