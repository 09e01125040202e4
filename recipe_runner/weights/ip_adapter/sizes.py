"""The sizes of an IP-Adapter's image projection, and functions that make rows of its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recipe_runner.weights.ip_adapter.variants import AdapterVariant
from recipe_runner.weights.modules import Shape

HEAD = 64
"""Channels of a resampler's head: fixed in every implementation."""

TensorRow = tuple[str, Shape, tuple[str, ...]]
"""A tensor: its key in the file without the projection's prefix, its shape, and the parameters that it fills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampler:
    """The perceiver resampler of the Plus kinds: `depth` blocks of `heads` heads of 64 channels on `width` features.

    `hidden` is the width between the two layers of a block's feed-forward network.
    """

    depth: int
    heads: int
    width: int
    hidden: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of a projection, read from its own tensors.

    `timesteps` are the features of a timestep, where the projection reads it; `translated` is true when its tensors
    already have the names of diffusers' class.
    """

    variant: AdapterVariant
    tokens: int
    image_width: int | None
    face_width: int | None
    cross_width: int
    resampler: Resampler | None = None
    hidden: int | None = None
    timesteps: int = 0
    translated: bool = False


class NotThere(KeyError):
    """A tensor that the sizes are read from is missing or has too few dimensions. Its text is the tensor's key."""


def size(shapes: Mapping[str, Shape], key: str, dimension: int) -> int:
    """One dimension of a tensor.

    Raises:
        NotThere: the tensor or the dimension is missing.
    """
    shape = shapes.get(key, ())
    if dimension >= len(shape):
        raise NotThere(key)
    return shape[dimension]


def linear(key: str, name: str, rows: int, columns: int) -> Iterator[TensorRow]:
    """A layer with a bias."""
    yield f"{key}.weight", (rows, columns), (f"{name}.weight",)
    yield f"{key}.bias", (rows,), (f"{name}.bias",)


def norm(key: str, name: str, width: int) -> Iterator[TensorRow]:
    """A layer norm."""
    yield f"{key}.weight", (width,), (f"{name}.weight",)
    yield f"{key}.bias", (width,), (f"{name}.bias",)


def depth(shapes: Mapping[str, Shape], prefix: str) -> int:
    """The number of layers: their tensors begin with `prefix` and a number."""
    return len({key.removeprefix(prefix).split(".")[0] for key in shapes if key.startswith(prefix)})
