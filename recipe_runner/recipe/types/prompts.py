"""The sections prompts, seeds, sampling, runtime and output: which images to make, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict

from recipe_runner.recipe.types.adapters import Images
from recipe_runner.recipe.types.fields import Name, Number, Seed, Strictly, Text


class Prompt(Strictly):
    """One prompt; the names of its images contain its id."""

    id: Name | None = Field(
        None,
        title="Id",
        description="Name of the prompt in image files and manifests. Default: `prompt-1`, `prompt-2`, … by position.",
        examples=["bears"],
    )
    prompt: Text = Field(title="Prompt", description="Text of the prompt.", examples=["bears, pizza bites"])
    prompt_2: Text | None = Field(
        None,
        title="Second encoder's prompt",
        description="Prompt for the second text encoder. Default: the same as `prompt`.",
        examples=["pizza"],
    )
    prompt_3: Text | None = Field(
        None,
        title="Third encoder's prompt",
        description="Prompt for the third text encoder. Default: the same as `prompt`.",
        examples=["pizza"],
    )
    negative_prompt: Text | None = Field(
        None, title="Negative prompt", description="What the image should not show.", examples=["blurry"]
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
        description="Image prompts of this prompt, by the name of an ip_adapter: images, and embeddings in .npy or "
        ".safetensors files. They replace those of the adapter itself.",
        examples=[{"look": "inputs/other.png"}, {"face": ["inputs/face.npy", "inputs/face.png"]}],
    )


class SeedRange(Strictly):
    """`count` consecutive seeds, starting with `start`."""

    start: Seed = Field(0, title="Start", description="The first seed.", examples=[0])
    count: int = Field(ge=1, le=1_000_000, title="Count", description="Number of seeds.", examples=[8])


SeedList = Annotated[tuple[Seed, ...], Strict(strict=False), Field(min_length=1)]
Dimension = Annotated[int, Field(ge=8, le=16_384, multiple_of=8)]


class Sampling(Strictly):
    """Arguments of the pipeline call. All other parameters of the pipeline's call are allowed, too."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")
    __pydantic_extra__: dict[str, Any]

    num_inference_steps: int | None = Field(
        None, ge=1, le=10_000, title="Denoising steps", description="Number of denoising steps.", examples=[50]
    )
    guidance_scale: Number | None = Field(
        None,
        ge=0,
        title="Guidance scale",
        description="Strength of classifier-free guidance; most pipelines switch it off at 1 and below.",
        examples=[7.5],
    )
    height: Dimension | None = Field(
        None, title="Height", description="Height of the image in pixels, a multiple of 8.", examples=[1024]
    )
    width: Dimension | None = Field(
        None, title="Width", description="Width of the image in pixels, a multiple of 8.", examples=[1024]
    )
    eta: Number | None = Field(
        None, ge=0, le=1, title="Eta", description="Eta of DDIM: 0 is deterministic, 1 is DDPM.", examples=[0.0]
    )
    guidance_rescale: Number | None = Field(
        None,
        ge=0,
        le=1,
        title="Guidance rescale",
        description="Rescales the guided noise, against overexposure.",
        examples=[0.7],
    )
    clip_skip: int | None = Field(
        None,
        ge=1,
        le=64,
        title="Clip skip",
        description="Number of text encoder layers to skip, counted as in diffusers: 1 takes the layer before the "
        "last.",
        examples=[1],
    )
    max_sequence_length: int | None = Field(
        None,
        ge=1,
        le=4_096,
        title="Prompt length",
        description="Largest number of tokens of a prompt for T5.",
        examples=[256],
    )


class Runtime(Strictly):
    """How to execute. Only `reproducibility` changes what an image is."""

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        title="Device",
        description="`auto` takes the first CUDA device, or the CPU when there is none.",
        examples=["auto", "cuda:1"],
    )
    reproducibility: Literal["strict", "seeded", "fast"] = Field(
        "strict",
        title="Reproducibility level",
        description="`strict`: deterministic kernels, one image at a time. `seeded`: the same noise, but the fast "
        "kernels of the hardware. `fast`: like `seeded`, and in batches.",
        examples=["strict"],
    )
    batch_size: int = Field(
        4,
        ge=1,
        le=256,
        title="Batch size",
        description="Images per batch at level `fast`; the other levels make one image at a time.",
        examples=[4],
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1_024,
        title="CPU threads",
        description="Number of CPU threads of torch, which changes the last bits of an image. Default: torch decides, "
        "and the manifest records the number.",
        examples=[1],
    )
    allow_pickle: bool = Field(
        default=False,
        title="Allow pickled weights",
        description="Allows .bin, .pt, .pth and .ckpt files, which are read with weights_only. They are refused "
        "otherwise.",
        examples=[False],
    )
    max_images: int = Field(
        10_000,
        ge=1,
        title="Largest number of images",
        description="A recipe with more images is refused.",
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
        description="Quality of jpeg (default: 95) or webp images (default: lossless).",
        examples=[90],
    )
