"""The `adapters` section: one type per `kind`, told apart by that key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, Strict

from recipe_runner.recipe.types.base import Component, FromSource
from recipe_runner.recipe.types.fields import Address, BlockScale, DirectionScale, ModelScale, Name, Number, Strictly

Target = Literal["unet", "transformer", "transformer_2", "text_encoder", "text_encoder_2", "text_encoder_3"]
TextEncoder = Literal["text_encoder", "text_encoder_2", "text_encoder_3"]
Images = Address | Annotated[tuple[Address, ...], Strict(strict=False), Field(min_length=1)]


class LoraScale(Strictly):
    """A LoRA's scale per component; a component left out keeps 1.0, as `set_adapters` does."""

    unet: ModelScale | None = Field(
        None,
        title="UNet scale",
        description="One number, or `down`, `mid` and `up` with a number, or blocks with a number or a list of one "
        "number per attention.",
        examples=[{"down": 0.9, "up": {"block_0": 0.6, "block_1": [0.4, 0.8, 1.0]}}],
    )
    transformer: ModelScale | None = Field(
        None,
        title="Transformer scale",
        description="One number, or block lists such as `transformer_blocks` with a number or one number per block.",
        examples=[0.8],
    )
    transformer_2: ModelScale | None = Field(
        None,
        title="Second transformer's scale",
        description="As `transformer`, for pipelines with two.",
        examples=[0.8],
    )
    text_encoder: Number | None = Field(
        None, title="Text encoder scale", description="Scale in the first text encoder.", examples=[0.5]
    )
    text_encoder_2: Number | None = Field(
        None, title="Second text encoder's scale", description="Scale in the second text encoder.", examples=[0.5]
    )
    text_encoder_3: Number | None = Field(
        None, title="Third text encoder's scale", description="Scale in the third text encoder.", examples=[0.5]
    )


class Lora(FromSource):
    """A LoRA or LyCORIS file of any trainer."""

    kind: Literal["lora"] = Field(title="Kind", description="A LoRA or LyCORIS adapter.", examples=["lora"])
    scale: Number | LoraScale = Field(
        1.0,
        title="Scale",
        description="How strongly the adapter acts: 0 is the base, 1 the full adapter; per component and block as in "
        "`set_adapters`.",
        examples=[0.8, {"unet": {"down": 0.9}, "text_encoder": 0.5}],
    )
    target: Target | None = Field(
        None,
        title="Target component",
        description="Load into this component only, as `load_lora_adapter` does. Left out, every component that the "
        "file has weights for.",
        examples=["unet"],
    )
    alpha: Number | None = Field(
        None,
        gt=0,
        title="Alpha",
        description="LoRA alpha for a file that carries none (it then counts as alpha = rank).",
        examples=[16.0],
    )


class TextualInversion(FromSource):
    """A textual inversion embedding; its token stands in prompts or negative prompts."""

    kind: Literal["textual_inversion"] = Field(
        title="Kind", description="A textual inversion embedding.", examples=["textual_inversion"]
    )
    token: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x20\x7f]+$",
        title="Token",
        description="The word that stands for the embedding in prompts. Left out, the token that the file names; of a "
        "file of several tokens, the one that is meant.",
        examples=["<gta5-artwork>", "EasyNegative"],
    )
    target: TextEncoder | None = Field(
        None,
        title="Target text encoder",
        description="Load into this text encoder only. Left out, every CLIP text encoder of the base must get vectors.",
        examples=["text_encoder"],
    )


class IpAdapter(FromSource):
    """An image prompt adapter; which of the kinds it is, for a UNet, Flux or Stable Diffusion 3, its file tells."""

    kind: Literal["ip_adapter"] = Field(title="Kind", description="An image prompt adapter.", examples=["ip_adapter"])
    image_encoder: Component | None = Field(
        None,
        title="Image encoder",
        description="The CLIPVisionModelWithProjection (for Stable Diffusion 3 the SiglipVisionModel) that the adapter "
        "was trained with. Left out, the base's own "
        "component `image_encoder`, else the folder `image_encoder` beside the weights file.",
        examples=[{"model": "h94/IP-Adapter", "subfolder": "models/image_encoder"}],
    )
    scale: Number | Mapping[str, DirectionScale] = Field(
        1.0,
        title="Scale",
        description="One number, or blocks as in `set_ip_adapter_scale`, for a transformer `transformer_blocks` with "
        "one number for each; blocks left out of a mapping are 0.",
        examples=[0.6, {"up": {"block_0": [0.0, 1.0, 0.0]}}],
    )
    image: Images | None = Field(
        None,
        title="Image",
        description="The image prompt, or several for this adapter. A prompt's `images` may override it. In "
        "pictures for FaceID without `image_embeds`, insightface (the extra `faceid`) finds the one face of each.",
        examples=["inputs/bear.png"],
    )
    image_embeds: Address | None = Field(
        None,
        title="Image or face embedding",
        description="A .safetensors or .npy file with a precomputed embedding, instead of `image`; for FaceID the face "
        "embedding of width 512, and for FaceID Plus beside the `image` of the face.",
        examples=["inputs/face.npy"],
    )
    mask: Images | None = Field(
        None,
        title="Mask",
        description="Black and white picture that limits where the adapter acts; one for each image. For UNets alone.",
        examples=["inputs/left.png"],
    )
    shortcut: bool | None = Field(
        None,
        title="FaceID Plus v2 shortcut",
        description="Whether a FaceID Plus file is version 2 (`shortcut` of the projection). Left out, the file's name "
        "decides.",
        examples=[True],
    )


CombinationType = Literal[
    "linear", "cat", "svd", "ties", "ties_svd", "dare_linear", "dare_ties", "dare_linear_svd", "dare_ties_svd",
    "magnitude_prune", "magnitude_prune_svd",
]  # fmt: skip


class Merge(Strictly):
    """Several LoRAs merged into one, as peft's `add_weighted_adapter` does. The merged ones no longer act alone."""

    kind: Literal["merge"] = Field(title="Kind", description="Several LoRAs merged into one.", examples=["merge"])
    adapters: Annotated[tuple[Name, ...], Strict(strict=False)] = Field(
        min_length=1,
        title="Adapters",
        description="Names of the lora adapters to merge, in order.",
        examples=[["cereal", "film"]],
    )
    weights: Annotated[tuple[Number, ...], Strict(strict=False)] = Field(
        min_length=1,
        title="Weights",
        description="One weight for each adapter; an adapter's own `scale` multiplies it.",
        examples=[[0.7, 0.3]],
    )
    combination_type: CombinationType = Field(
        "cat",
        title="Combination type",
        description="peft's merging method. `cat` equals applying both at their weights.",
        examples=["ties"],
    )
    density: float | None = Field(
        None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        title="Density",
        description="Share of values kept by ties, dare and magnitude_prune.",
        examples=[0.5],
    )
    majority_sign_method: Literal["total", "frequency"] = Field(
        "total",
        title="Majority sign method",
        description="How ties elects a sign.",
        examples=["total"],
    )
    svd_rank: int | None = Field(
        None, ge=1, title="SVD rank", description="Rank of the result of the svd methods.", examples=[16]
    )
    seed: int = Field(
        0, ge=0, le=2**63 - 1, title="Seed", description="Seed of the dare methods' random pruning.", examples=[0]
    )
    scale: Number | LoraScale = Field(
        1.0, title="Scale", description="Scale of the merged adapter, as for a lora.", examples=[1.0]
    )


Adapter = Annotated[Lora | TextualInversion | IpAdapter | Merge, Field(discriminator="kind")]

__all__ = ["Adapter", "BlockScale", "Images", "IpAdapter", "Lora", "LoraScale", "Merge", "Target", "TextualInversion"]
