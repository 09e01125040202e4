"""The environment of an image: versions, device and settings that its pixels depend on besides the recipe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field

from recipe_runner.recipe.types.fields import Scalar, Strictly

_DIGEST = re.compile(r"[0-9a-f]{64}")


def are_digests(values: Iterable[object]) -> bool:
    """Whether each value, read from a record, is a sha256 in hexadecimal."""
    return all(isinstance(value, str) and _DIGEST.fullmatch(value) for value in values)


def are_counts(values: Iterable[object]) -> bool:
    """Whether each value, read from a record, is an integer above 0."""
    return all(type(value) is int and value > 0 for value in values)


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
