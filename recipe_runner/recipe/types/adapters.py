"""The `adapters` section: one type for each `kind`."""

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
    """A LoRA's scale per component; components without a scale have 1.0, as in `set_adapters`."""

    unet: ModelScale | None = Field(
        None,
        title="UNet scale",
        description="One number for the UNet; or one number for each of `down`, `mid` and `up`; or, for each of their "
        "blocks, one number or a list with one number per attention.",
        examples=[{"down": 0.9, "up": {"block_0": 0.6, "block_1": [0.4, 0.8, 1.0]}}],
    )
    transformer: ModelScale | None = Field(
        None,
        title="Transformer scale",
        description="One number; or, for each block list such as `transformer_blocks`, one number or one number per "
        "block.",
        examples=[0.8],
    )
    transformer_2: ModelScale | None = Field(
        None,
        title="Second transformer's scale",
        description="Like `transformer`, for pipelines with two transformers.",
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
    """A LoRA or LyCORIS file from any trainer."""

    kind: Literal["lora"] = Field(title="Kind", description="A LoRA or LyCORIS adapter.", examples=["lora"])
    scale: Number | LoraScale = Field(
        1.0,
        title="Scale",
        description="Strength of the adapter: 0 for none, 1 for full strength. Can be set per component and block, as "
        "in `set_adapters`.",
        examples=[0.8, {"unet": {"down": 0.9}, "text_encoder": 0.5}],
    )
    target: Target | None = Field(
        None,
        title="Target component",
        description="Load the adapter only into this component, as `load_lora_adapter` does. Default: into all "
        "components that the file has weights for.",
        examples=["unet"],
    )
    alpha: Number | None = Field(
        None,
        gt=0,
        title="Alpha",
        description="LoRA alpha of a file that does not contain it. Default for such a file: the rank.",
        examples=[16.0],
    )


class TextualInversion(FromSource):
    """A textual inversion embedding, used by writing its token into prompts or negative prompts."""

    kind: Literal["textual_inversion"] = Field(
        title="Kind", description="A textual inversion embedding.", examples=["textual_inversion"]
    )
    token: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x20\x7f]+$",
        title="Token",
        description="The word for the embedding in prompts. Default: the token in the file. For a file with several "
        "tokens, it selects one.",
        examples=["<gta5-artwork>", "EasyNegative"],
    )
    target: TextEncoder | None = Field(
        None,
        title="Target text encoder",
        description="Load the embedding only into this text encoder. Default: into every CLIP text encoder of the "
        "base; the file must have vectors for each.",
        examples=["text_encoder"],
    )


class IpAdapter(FromSource):
    """An image prompt adapter for a UNet, Flux or Stable Diffusion 3; the file decides which."""

    kind: Literal["ip_adapter"] = Field(title="Kind", description="An image prompt adapter.", examples=["ip_adapter"])
    image_encoder: Component | None = Field(
        None,
        title="Image encoder",
        description="The CLIPVisionModelWithProjection (for Stable Diffusion 3 the SiglipVisionModel) that the adapter "
        "was trained with. Default: the component `image_encoder` of the base, or the folder `image_encoder` beside "
        "the weights file.",
        examples=[{"model": "h94/IP-Adapter", "subfolder": "models/image_encoder"}],
    )
    scale: Number | Mapping[str, DirectionScale] = Field(
        1.0,
        title="Scale",
        description="One number; or blocks, as in `set_ip_adapter_scale`. For a transformer: `transformer_blocks` with "
        "one number per block. Blocks that are not in the mapping have 0.",
        examples=[0.6, {"up": {"block_0": [0.0, 1.0, 0.0]}}],
    )
    image: Images | None = Field(
        None,
        title="Image",
        description="The image prompt, or several of them. The `images` of a prompt override it. For FaceID without "
        "`image_embeds`, each image must show one face, which insightface (the extra `faceid`) finds.",
        examples=["inputs/bear.png"],
    )
    image_embeds: Address | None = Field(
        None,
        title="Image or face embedding",
        description="A .safetensors or .npy file with a precomputed embedding, instead of `image`. For FaceID: the "
        "face embedding of width 512. For FaceID Plus: the face embedding in addition to the `image` of the face.",
        examples=["inputs/face.npy"],
    )
    mask: Images | None = Field(
        None,
        title="Mask",
        description="Black and white image: the adapter acts on its white areas. One mask for each image; only for "
        "UNets.",
        examples=["inputs/left.png"],
    )
    shortcut: bool | None = Field(
        None,
        title="FaceID Plus v2 shortcut",
        description="Whether a FaceID Plus file is version 2 (`shortcut` of the projection). Default: decided by the "
        "name of the file.",
        examples=[True],
    )


CombinationType = Literal[
    "linear", "cat", "svd", "ties", "ties_svd", "dare_linear", "dare_ties", "dare_linear_svd", "dare_ties_svd",
    "magnitude_prune", "magnitude_prune_svd",
]  # fmt: skip


class Merge(Strictly):
    """Several LoRAs merged into one, as peft's `add_weighted_adapter` does. They no longer act on their own."""

    kind: Literal["merge"] = Field(title="Kind", description="Several LoRAs merged into one.", examples=["merge"])
    adapters: Annotated[tuple[Name, ...], Strict(strict=False)] = Field(
        min_length=1,
        title="Adapters",
        description="Names of the lora adapters to merge.",
        examples=[["cereal", "film"]],
    )
    weights: Annotated[tuple[Number, ...], Strict(strict=False)] = Field(
        min_length=1,
        title="Weights",
        description="One weight for each adapter; it is multiplied by the adapter's own `scale`.",
        examples=[[0.7, 0.3]],
    )
    combination_type: CombinationType = Field(
        "cat",
        title="Combination type",
        description="Merge method of peft. `cat` gives the same result as applying the adapters with their weights.",
        examples=["ties"],
    )
    density: float | None = Field(
        None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        title="Density",
        description="Share of values that the ties, dare and magnitude_prune methods keep.",
        examples=[0.5],
    )
    majority_sign_method: Literal["total", "frequency"] = Field(
        "total",
        title="Majority sign method",
        description="How the ties methods choose the sign of each value.",
        examples=["total"],
    )
    svd_rank: int | None = Field(
        None, ge=1, title="SVD rank", description="Rank of the merged adapter, for the svd methods.", examples=[16]
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**63 - 1,
        title="Seed",
        description="Seed for the random pruning of the dare methods.",
        examples=[0],
    )
    scale: Number | LoraScale = Field(
        1.0, title="Scale", description="Strength of the merged adapter, as for a lora.", examples=[1.0]
    )


Adapter = Annotated[Lora | TextualInversion | IpAdapter | Merge, Field(discriminator="kind")]

__all__ = ["Adapter", "BlockScale", "Images", "IpAdapter", "Lora", "LoraScale", "Merge", "Target", "TextualInversion"]
