"""Files with a precomputed embedding of an image or a face: what they hold, from their headers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.formats import DESCRIPTIONS, identify_format
from recipe_runner.weights.files.header import read_header
from recipe_runner.weights.modules import Shape

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".npy", ".safetensors")
"""Suffixes that tell an embedding from a picture."""
_PAIR = 2
_DAMAGED = (
    ValueError, OSError, EOFError, SyntaxError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError,
    TokenError,
)  # fmt: skip
"""What numpy raises for a damaged file: it reads the header, a Python literal, with Python's own parser."""


@dataclass(frozen=True, slots=True)
class Embeds:
    """What a file of embeddings holds: of how many images, and whether the negative ones stand before them."""

    count: int
    negative: bool


def is_embeds(address: str) -> bool:
    """Whether an address is that of an embedding and not of a picture."""
    return address.lower().endswith(SUFFIXES)


def embeds_shape(path: Path, shown: str) -> Shape:
    """The shape of the one array in a .npy or .safetensors file; nothing in it is unpickled.

    Raises:
        WeightsError: E646 it holds no one array of floating-point numbers; E627 it is something else, or damaged;
            E401, E410, E415 it cannot be read.
    """
    found = identify_format(path)
    if found == "numpy":
        return _numpy_shape(path, shown)
    if found != "safetensors":
        hint = "write the embedding with numpy.save or safetensors.torch.save_file"
        raise WeightsError.of("E627", f"{shown}: the file is {DESCRIPTIONS[found]}, not an embedding", hint)
    tensors = read_header(path).tensors
    if len(tensors) != 1:
        code = "E646" if tensors else "E627"
        raise WeightsError.of(code, f"{shown}: the file holds {len(tensors)} tensors, and one embedding is wanted")
    (info,) = tensors.values()
    if info.dtype not in ("F64", "F32", "F16", "BF16"):
        raise WeightsError.of("E646", f"{shown}: its numbers are of type {info.dtype}, not floating-point")
    return info.shape


def _numpy_shape(path: Path, shown: str) -> Shape:
    array = read_array(path, shown, mapped=True)
    if array.dtype.kind != "f":
        raise WeightsError.of("E646", f"{shown}: its numbers are of type {array.dtype}, not floating-point")
    return tuple(array.shape)


def read_array(path: Path, shown: str, *, mapped: bool) -> np.ndarray[Any, Any]:
    """The array in a .npy file, read whole or `mapped` into memory; nothing in it is unpickled.

    Raises:
        WeightsError: E627 it is damaged, or holds Python objects.
    """
    import numpy as np  # noqa: PLC0415 - only recipes with such a file need it to be planned

    try:
        with warnings.catch_warnings():
            # numpy's remarks on the Python that a damaged header might be.
            warnings.simplefilter("ignore")
            found: np.ndarray[Any, Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except _DAMAGED as error:
        hint = "write the embedding with numpy.save, or download or copy the file again"
        raise WeightsError.of(
            "E627", f"{shown}: the array cannot be read without unpickling ({error})", hint
        ) from error
    return found


def read_as(shape: Shape, width: int, *, patches: bool, paired: bool = False, shown: str) -> Embeds:
    """What an array of this shape means to an adapter that reads `width` features.

    Of one image it is [width], or [patches, width] where the adapter reads the encoder's hidden states; of n images
    [n, …]; and [1, n, …] or, the negative embeddings first, [2, n, …], as `prepare_ip_adapter_image_embeds` gives it.
    Where that gives no dimension for images (`paired`), [1, …] and [2, …] are one image, the latter with its negative.

    Raises:
        WeightsError: E646 another width or number of dimensions.
    """
    one = 2 if patches else 1
    form = "[patches, " if patches else "["
    if not shape or shape[-1] != width:
        have = f"the shape {list(shape)}"
        raise WeightsError.of("E646", f"{shown}: the embedding has {have}, and the adapter reads {width} features")
    if 0 in shape or not one <= len(shape) <= one + 2:
        raise WeightsError.of(
            "E646",
            f"{shown}: the embedding has the shape {list(shape)}",
            f"one image is {form}{width}], n images are [n, …], or [2, n, …] with the negative ones first",
        )
    if paired and len(shape) == one + 1:
        if shape[0] > _PAIR:
            hint = f"several images are [1, n, patches, {width}], or [2, n, …] with the negative ones first"
            raise WeightsError.of("E646", f"{shown}: the embedding has the shape {list(shape)}", hint)
        return Embeds(1, shape[0] == _PAIR)
    if len(shape) == one + 2 and shape[0] > _PAIR:
        raise WeightsError.of(
            "E646",
            f"{shown}: the embedding has the shape {list(shape)}",
            "before the images stands 1, or 2 where the negative embeddings come first",
        )
    count = 1 if len(shape) == one else shape[-one - 1]
    return Embeds(count, len(shape) == one + 2 and shape[0] == _PAIR)
