"""What an IP-Adapter file is: its variant, its sizes, and where each of its tensors belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from recipe_runner.pipelines.family import family_of_text_width
from recipe_runner.weights.ip_adapter.families import UNET, AdapterFamily
from recipe_runner.weights.ip_adapter.sizes import Sizes
from recipe_runner.weights.ip_adapter.variants import (
    FEATURES,
    NAMES,
    READINGS,
    AdapterVariant,
    EncoderReading,
    Features,
)
from recipe_runner.weights.lora.family import CROSS_ATTENTION

Projection = Literal["to_q", "to_k", "to_v", "to_out"]


def unet_of_width(width: int) -> str:
    """The family of a UNet whose cross-attention reads text of this width."""
    return CROSS_ATTENTION.get(width, f"a UNet of cross-attention width {width}")


@dataclass(frozen=True, kw_only=True)
class IpAdapterLayout:
    """An IP-Adapter, in a layout of its authors (https://github.com/tencent-ailab/IP-Adapter, XLabs, InstantX).

    Attributes:
        family: the denoisers that it is for.
        naming: whose names its tensors have: `h94`, `xlabs`, `instantx`, `diffusers`.
        sizes: of its image projection.
        projection: each tensor of the image projection by its key in the file, with the parameters of diffusers' class
            that it fills: two where it is split in halves along its first dimension.
        attentions: the attentions by their number in the file (a UNet's cross-attentions have 1, 3, 5, …) with the
            width of their keys.
        layers: by the same number, the parameters of the attention's processor with their keys in the file.
        lora: the rank of FaceID's bundled LoRA, by number of the attention and projection.
        faults: a sentence for each tensor that is missing, unexpected or of another shape.
        tensor_count: tensors of the file.
    """

    family: AdapterFamily
    naming: str
    sizes: Sizes
    projection: Mapping[str, tuple[str, ...]]
    attentions: Mapping[int, int]
    layers: Mapping[int, Mapping[str, str]]
    lora: Mapping[tuple[int, Projection], int]
    faults: tuple[str, ...]
    tensor_count: int

    @property
    def model(self) -> str | None:
        """The family of models that it is for; None where no known family has text of its width."""
        if self.family.model:
            return self.family.model
        by_width = family_of_text_width(self.sizes.cross_width)
        return None if by_width is None else by_width.name

    @property
    def variant(self) -> AdapterVariant:
        """Which image projection it has."""
        return self.sizes.variant

    @property
    def tokens(self) -> int:
        """Image tokens for each image; 0 for Full Face, which makes one from each of the encoder's patches."""
        return self.sizes.tokens

    @property
    def image_width(self) -> int | None:
        """Features that it reads from the image encoder; None for FaceID, which reads none."""
        return self.sizes.image_width

    @property
    def face_width(self) -> int | None:
        """Features of the face embedding (512 of insightface's models); None where it reads none."""
        return self.sizes.face_width

    @property
    def cross_width(self) -> int:
        """Width of an image token: in a UNet that of the text."""
        return self.sizes.cross_width

    @property
    def name(self) -> str:
        """Its usual name."""
        return NAMES[self.variant]

    @property
    def made_for(self) -> str:
        """The models that it was trained for, by its width among UNets."""
        if self.family is not UNET:
            return self.family.title
        return unet_of_width(self.cross_width)

    @property
    def features(self) -> Features | None:
        """Which output of an image encoder it reads; None where it reads none."""
        return FEATURES[self.variant]

    @property
    def reading(self) -> EncoderReading | None:
        """How it reads an image encoder."""
        return None if self.features is None else READINGS[self.features]

    @property
    def reads_hidden_states(self) -> bool:
        """Whether it reads the image encoder's hidden states, one for each patch, and not the projected embedding."""
        return self.reading is not None and self.reading.patches

    def tensor_counts(self) -> dict[str, int]:
        """How many tensors of a whole file each component gets; the UNet gets the factors of a LoRA."""
        layers = sum(map(len, self.layers.values()))
        return {self.family.component: layers + 2 * len(self.lora), "image_proj": len(self.projection)}
