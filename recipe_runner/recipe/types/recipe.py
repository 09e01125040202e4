"""The recipe language, format 1: frozen, strict types. The JSON Schema in `schemas/` is generated from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, Strict

from recipe_runner.recipe.types.adapters import Adapter, IpAdapter, Lora, LoraScale, Merge, TextualInversion
from recipe_runner.recipe.types.base import Base, Component, Scheduler
from recipe_runner.recipe.types.fields import Name, Strictly, Text
from recipe_runner.recipe.types.prompts import Output, Prompt, Runtime, Sampling, SeedList, SeedRange

AxisValues = Annotated[tuple[Any, ...], Strict(strict=False), Field(min_length=1)]


class Recipe(Strictly):
    """A recipe: variants x prompts x seeds = images."""

    # Not Literal[1], which accepts true and 1.0.
    recipe: int = Field(
        ge=1,
        le=1,
        json_schema_extra={"const": 1},
        title="Format version",
        description="Version of the recipe format: 1.",
        examples=[1],
    )
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,99}$",
        title="Name",
        description="Name of the recipe and its run folder: lower-case letters, digits and hyphens.",
        examples=["cereal-or-film"],
    )
    description: Text | None = Field(
        None,
        title="Description",
        description="Purpose of the recipe, for readers.",
        examples=["How loud should the cereal box be?"],
    )
    base: Base = Field(
        title="Base model",
        description="The model that the adapters are applied to.",
        examples=[{"model": "stable-diffusion-v1-5/stable-diffusion-v1-5"}],
    )
    adapters: Mapping[Name, Adapter] = Field(
        {},
        title="Adapters",
        description="LoRAs, textual inversions, IP-Adapters and merges by name, applied to the base in this order.",
        examples=[{"style": {"kind": "lora", "model": "adapters/style.safetensors", "scale": 0.8}}],
    )
    prompts: Annotated[tuple[Prompt, ...], Strict(strict=False)] = Field(
        min_length=1,
        title="Prompts",
        description="The prompts; each makes one image per seed.",
        examples=[[{"id": "bears", "prompt": "bears, pizza bites"}]],
    )
    seeds: SeedList | SeedRange = Field(
        (0,),
        title="Seeds",
        description="One image for each seed and prompt. A list, or a range of seeds.",
        examples=[[33, 34], {"start": 0, "count": 8}],
    )
    sampling: Sampling = Field(
        Sampling(),
        title="Sampling",
        description="Arguments of the pipeline call, with their names in diffusers.",
        examples=[{"num_inference_steps": 50, "guidance_scale": 7.5}],
    )
    matrix: Mapping[str, AxisValues] = Field(
        {},
        title="Matrix",
        description="Axes: each is a path into the recipe with a list of values. Every combination of values is a "
        "variant; the first axis changes slowest.",
        examples=[{"adapters.style.scale": [0.0, 0.5, 1.0]}],
    )
    runtime: Runtime = Field(
        Runtime(),
        title="Runtime",
        description="Device, reproducibility and limits of a run.",
        examples=[{"device": "auto", "reproducibility": "strict"}],
    )
    output: Output = Field(
        Output(), title="Output", description="Format of the image files.", examples=[{"format": "png"}]
    )


__all__ = [
    "Adapter",
    "Base",
    "Component",
    "IpAdapter",
    "Lora",
    "LoraScale",
    "Merge",
    "Output",
    "Prompt",
    "Recipe",
    "Runtime",
    "Sampling",
    "Scheduler",
    "SeedRange",
    "TextualInversion",
]
