"""The sections that say which images to make and how to run: prompts, seeds, sampling, runtime, output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict

from recipe_runner.recipe.types.adapters import Images
from recipe_runner.recipe.types.fields import Name, Number, Seed, Strictly, Text


class Prompt(Strictly):
    """One prompt; images are named after its id."""

    id: Name | None = Field(
        None,
        title="Id",
        description="Names the prompt in image files and manifests. Left out: `prompt-1`, `prompt-2`, … by position.",
        examples=["bears"],
    )
    prompt: Text = Field(title="Prompt", description="What to draw.", examples=["bears, pizza bites"])
    prompt_2: Text | None = Field(
        None,
        title="Second encoder's prompt",
        description="Prompt for the second text encoder; left out, the same prompt.",
        examples=["pizza"],
    )
    prompt_3: Text | None = Field(
        None,
        title="Third encoder's prompt",
        description="Prompt for the third text encoder; left out, the same prompt.",
        examples=["pizza"],
    )
    negative_prompt: Text | None = Field(
        None, title="Negative prompt", description="What to steer away from.", examples=["blurry"]
    )
    negative_prompt_2: Text | None = Field(
        None,
        title="Second encoder's negative prompt",
        description="Left out, the same negative prompt.",
        examples=["blurry"],
    )
    negative_prompt_3: Text | None = Field(
        None,
        title="Third encoder's negative prompt",
        description="Left out, the same negative prompt.",
        examples=["blurry"],
    )
    images: Mapping[Name, Images] = Field(
        {},
        title="Images",
        description="Image prompts of this prompt, by the name of an ip_adapter: pictures, and embeddings in .npy or "
        ".safetensors files. They replace all that the adapter itself is given.",
        examples=[{"look": "inputs/other.png"}, {"face": ["inputs/face.npy", "inputs/face.png"]}],
    )


class SeedRange(Strictly):
    """`count` consecutive seeds from `start`."""

    start: Seed = Field(0, title="Start", description="The first seed.", examples=[0])
    count: int = Field(ge=1, le=1_000_000, title="Count", description="How many seeds.", examples=[8])


SeedList = Annotated[tuple[Seed, ...], Strict(strict=False), Field(min_length=1)]
Dimension = Annotated[int, Field(ge=8, le=16_384, multiple_of=8)]


class Sampling(Strictly):
    """Arguments of the pipeline call; any other parameter of the pipeline's signature may stand here too."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")
    __pydantic_extra__: dict[str, Any]

    num_inference_steps: int | None = Field(
        None, ge=1, le=10_000, title="Denoising steps", description="Number of denoising steps.", examples=[50]
    )
    guidance_scale: Number | None = Field(
        None,
        ge=0,
        title="Guidance scale",
        description="Classifier-free guidance; 1 and below switch it off in most pipelines.",
        examples=[7.5],
    )
    height: Dimension | None = Field(
        None, title="Height", description="Height of the image in pixels, a multiple of 8.", examples=[1024]
    )
    width: Dimension | None = Field(
        None, title="Width", description="Width of the image in pixels, a multiple of 8.", examples=[1024]
    )
    eta: Number | None = Field(
        None, ge=0, le=1, title="Eta", description="DDIM's eta: 0 deterministic, 1 as DDPM.", examples=[0.0]
    )
    guidance_rescale: Number | None = Field(
        None, ge=0, le=1, title="Guidance rescale", description="Rescales noise under guidance.", examples=[0.7]
    )
    clip_skip: int | None = Field(
        None,
        ge=1,
        le=64,
        title="Clip skip",
        description="Layers of the text encoder to skip, in diffusers' count: 1 is the layer before the last.",
        examples=[1],
    )
    max_sequence_length: int | None = Field(
        None, ge=1, le=4_096, title="Prompt length", description="Tokens of a T5 prompt.", examples=[256]
    )


class Runtime(Strictly):
    """How to execute; `reproducibility` apart, it never changes what an image is."""

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        title="Device",
        description="`auto` takes the first CUDA device and else the CPU.",
        examples=["auto", "cuda:1"],
    )
    reproducibility: Literal["strict", "seeded", "fast"] = Field(
        "strict",
        title="Reproducibility level",
        description="`strict`: deterministic kernels, one image at a time. `seeded`: the same noise, the hardware's "
        "fast kernels. `fast`: batches too.",
        examples=["strict"],
    )
    batch_size: int = Field(
        4,
        ge=1,
        le=256,
        title="Batch size",
        description="Images per batch at level `fast`; the other levels make one at a time.",
        examples=[4],
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1_024,
        title="CPU threads",
        description="Threads of torch on the CPU. They change the last bits of an image; left out, torch decides and "
        "the manifest says what it was.",
        examples=[1],
    )
    allow_pickle: bool = Field(
        default=False,
        title="Allow pickled weights",
        description=".bin, .pt, .pth and .ckpt files are refused unless true, and then read with weights_only.",
        examples=[False],
    )
    max_images: int = Field(
        10_000,
        ge=1,
        title="Largest number of images",
        description="A recipe that multiplies to more images than this is refused.",
        examples=[10_000],
    )


class Output(Strictly):
    """The image files."""

    format: Literal["png", "webp", "jpeg"] = Field(
        "png", title="Format", description="File format of the images.", examples=["png"]
    )
    quality: int | None = Field(
        None,
        ge=1,
        le=100,
        title="Quality",
        description="Quality of a jpeg (95 when left out) or webp (lossless when left out).",
        examples=[90],
    )
