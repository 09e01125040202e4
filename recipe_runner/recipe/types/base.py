"""The `base` section: the model that everything else is applied to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from recipe_runner.recipe.types.fields import Address, Strictly

Dtype = Literal["float32", "float16", "bfloat16"]


class Scheduler(Strictly):
    """diffusers' noise scheduler, built as `Class.from_config(the base's scheduler config, **config)`."""

    class_name: str | None = Field(
        None,
        alias="class",
        min_length=1,
        title="Scheduler class",
        description="A scheduler class that diffusers exports. Left out, the base keeps its own class.",
        examples=["DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler"],
    )
    config: Mapping[str, Any] = Field(
        {},
        title="Scheduler configuration",
        description="Configuration keys to override. Each must be a parameter of the class: diffusers would ignore "
        "an unknown one, here it is an error.",
        examples=[{"use_karras_sigmas": True}],
    )


class FromSource(Strictly):
    """Where weights come from."""

    model: Address = Field(
        title="Model",
        description="A Hub repository id, a folder or a weights file; a path is relative to the recipe. An https URL "
        "is downloaded once.",
        examples=["adapters/style.safetensors", "madebyollin/sdxl-vae-fp16-fix"],
    )
    revision: str | None = Field(
        None,
        min_length=1,
        title="Revision",
        description="Branch, tag or commit of a Hub repository; a lock pins it to a commit.",
        examples=["main"],
    )
    subfolder: str | None = Field(
        None,
        min_length=1,
        title="Subfolder",
        description="Folder inside the repository or folder that holds the weights file.",
        examples=["sdxl_models"],
    )
    weight_name: str | None = Field(
        None,
        min_length=1,
        title="Weights file",
        description="Name of the weights file in the repository or folder. May be left out when there is only "
        "one, or one with the name that diffusers gives it.",
        examples=["pytorch_lora_weights.safetensors"],
    )


class Component(FromSource):
    """A replaced part of the pipeline: a folder of its own or in a repository, or a single weights file."""

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
        description="Data type of this component's parameters. Left out, the base's.",
        examples=["float32"],
    )


class Base(Strictly):
    """The base model and how its pipeline is put together."""

    model: Address = Field(
        title="Model",
        description="A Hub repository id, a folder with a model_index.json, or a single checkpoint file; a path is "
        "relative to the recipe. An https URL is downloaded once.",
        examples=["stabilityai/stable-diffusion-xl-base-1.0", "demo/model", "checkpoints/dog.safetensors"],
    )
    revision: str | None = Field(
        None,
        min_length=1,
        title="Revision",
        description="Branch, tag or commit of a Hub repository; a lock pins it to a commit.",
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
        "component, tokenizer) of a single-file checkpoint whose architecture is not a known one.",
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
        description="`auto` takes the class that model_index.json names; else a diffusers text-to-image pipeline "
        "class.",
        examples=["auto", "StableDiffusionXLPipeline"],
    )
    scheduler: Scheduler | None = Field(
        None,
        title="Scheduler",
        description="Replace or configure the noise scheduler.",
        examples=[{"class": "DPMSolverMultistepScheduler", "config": {"use_karras_sigmas": True}}],
    )
    components: Mapping[str, Component | None] = Field(
        {},
        title="Components",
        description="Parts of the pipeline to replace, by their name in model_index.json; null leaves an optional part "
        "out (`safety_checker: null`).",
        examples=[{"vae": {"model": "madebyollin/sdxl-vae-fp16-fix"}}],
    )
