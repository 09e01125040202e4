"""The `base` section: the model that the adapters are applied to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from recipe_runner.recipe.types.fields import Address, Strictly

Dtype = Literal["float32", "float16", "bfloat16"]


class Scheduler(Strictly):
    """The noise scheduler of diffusers, created as `Class.from_config(scheduler config of the base, **config)`."""

    class_name: str | None = Field(
        None,
        alias="class",
        min_length=1,
        title="Scheduler class",
        description="A scheduler class of diffusers. Default: the class of the base.",
        examples=["DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler"],
    )
    config: Mapping[str, Any] = Field(
        {},
        title="Scheduler configuration",
        description="Configuration keys to override. Each must be a parameter of the class: unknown keys, which "
        "diffusers ignores, are errors.",
        examples=[{"use_karras_sigmas": True}],
    )


class FromSource(Strictly):
    """Where weights come from."""

    model: Address = Field(
        title="Model",
        description="A Hub repository id, a folder, a weights file, or an https URL, which is downloaded once. Paths "
        "are relative to the recipe.",
        examples=["adapters/style.safetensors", "madebyollin/sdxl-vae-fp16-fix"],
    )
    revision: str | None = Field(
        None,
        min_length=1,
        title="Revision",
        description="Branch, tag or commit of a Hub repository; a lock pins it to one commit.",
        examples=["main"],
    )
    subfolder: str | None = Field(
        None,
        min_length=1,
        title="Subfolder",
        description="Folder with the weights file, inside the repository or folder.",
        examples=["sdxl_models"],
    )
    weight_name: str | None = Field(
        None,
        min_length=1,
        title="Weights file",
        description="Name of the weights file in the repository or folder. Default: the only weights file, or the one "
        "with the usual name in diffusers.",
        examples=["pytorch_lora_weights.safetensors"],
    )


class Component(FromSource):
    """A replacement for a component of the pipeline: a folder, a folder in a repository, or a weights file."""

    variant: str | None = Field(
        None,
        min_length=1,
        title="Variant",
        description="Weights variant, as in `model.fp16.safetensors`.",
        examples=["fp16"],
    )
    dtype: Dtype | None = Field(
        None,
        title="Data type",
        description="Data type of the component's parameters. Default: the data type of the base.",
        examples=["float32"],
    )


class Base(Strictly):
    """The base model and its pipeline."""

    model: Address = Field(
        title="Model",
        description="A Hub repository id, a folder with a model_index.json, a single checkpoint file, or an https URL, "
        "which is downloaded once. Paths are relative to the recipe.",
        examples=["stabilityai/stable-diffusion-xl-base-1.0", "demo/model", "checkpoints/dog.safetensors"],
    )
    revision: str | None = Field(
        None,
        min_length=1,
        title="Revision",
        description="Branch, tag or commit of a Hub repository; a lock pins it to one commit.",
        examples=["main"],
    )
    weight_name: str | None = Field(
        None,
        min_length=1,
        title="Checkpoint file",
        description="Name of a single-file checkpoint inside the repository or folder.",
        examples=["v1-5-pruned-emaonly.safetensors"],
    )
    config: Address | None = Field(
        None,
        title="Configuration for a single file",
        description="Folder or Hub repository with the pipeline configuration (model_index.json, config.json of each "
        "component, tokenizer), for a single-file checkpoint of an unknown architecture.",
        examples=["demo/model"],
    )
    variant: str | None = Field(
        None,
        min_length=1,
        title="Variant",
        description="Weights variant, as in `model.fp16.safetensors`. Every component must have it.",
        examples=["fp16"],
    )
    dtype: Dtype = Field(
        "float32",
        title="Data type",
        description="Data type of the parameters.",
        examples=["float16"],
    )
    pipeline: str = Field(
        "auto",
        min_length=1,
        title="Pipeline class",
        description="A text-to-image pipeline class of diffusers; `auto` takes the class in model_index.json.",
        examples=["auto", "StableDiffusionXLPipeline"],
    )
    scheduler: Scheduler | None = Field(
        None,
        title="Scheduler",
        description="Replaces or configures the noise scheduler.",
        examples=[{"class": "DPMSolverMultistepScheduler", "config": {"use_karras_sigmas": True}}],
    )
    components: Mapping[str, Component | None] = Field(
        {},
        title="Components",
        description="Components of the pipeline to replace, by their names in model_index.json; null removes an "
        "optional component (`safety_checker: null`).",
        examples=[{"vae": {"model": "madebyollin/sdxl-vae-fp16-fix"}}],
    )
