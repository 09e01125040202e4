"""What an image's bits depend on beside its recipe: versions, device, and how the arithmetic was done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from recipe_runner.recipe.types.fields import Scalar, Strictly


class Environment(Strictly):
    """The environment that made an image."""

    versions: Mapping[str, str] = Field(
        title="Versions",
        description="Version of Python and of each library that touches an image, by name.",
        examples=[{"diffusers": "0.42.1", "python": "3.11.7", "torch": "2.13.0+cpu"}],
    )
    device: str = Field(
        min_length=1,
        title="Device",
        description="The kind of device: `cpu` with its instruction set, or the accelerator's model. Never which one "
        "of several, nor the host.",
        examples=["cpu AVX2", "NVIDIA H100 80GB HBM3"],
    )
    reproducibility: Literal["strict", "seeded", "fast"] = Field(
        title="Reproducibility level",
        description="The level it was made at.",
        examples=["strict"],
    )
    determinism: Mapping[str, Scalar] = Field(
        title="Determinism settings",
        description="What else changes an image's bits: threads, attention backend, image processor backend, TF32, …",
        examples=[{"attention_backend": "native", "threads": 2, "tf32": False}],
    )
