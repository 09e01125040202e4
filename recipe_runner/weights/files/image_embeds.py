"""Files with a precomputed embedding of an image or a face: read their shapes from their headers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Literal

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.formats import DESCRIPTIONS, identify_format
from recipe_runner.weights.files.header import read_header
from recipe_runner.weights.modules import Shape

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".npy", ".safetensors")
"""Suffixes of embeddings, as opposed to images."""
_PAIR = 2
_DAMAGED = (
    ValueError, OSError, EOFError, SyntaxError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError,
    TokenError,
)  # fmt: skip
"""The errors of numpy for a damaged file: it parses the header as a Python literal."""


@dataclass(frozen=True, slots=True)
class Embeds:
    """The contents of a file of embeddings: the number of images, and whether the negative embeddings come first."""

    count: int
    negative: bool


def is_embeds(address: str) -> bool:
    """Whether an address names an embedding, as opposed to an image."""
    return address.lower().endswith(SUFFIXES)


def embeds_shape(path: Path, shown: str) -> Shape:
    """The shape of the one array in a .npy or .safetensors file; nothing in it is unpickled.

    Raises:
        WeightsError: E646 it does not hold exactly one array of floating-point numbers; E627 it is another kind of
            file, or damaged; E401, E410, E415 it cannot be read.
    """
    found = identify_format(path)
    if found == "numpy":
        return _numpy_shape(path, shown)
    if found != "safetensors":
        hint = "write the embedding with numpy.save or safetensors.torch.save_file"
        raise WeightsError.of("E627", f"{shown}: the file is {DESCRIPTIONS[found]}, not an embedding", hint)
    tensors = read_header(path).tensors
    if not tensors:
        raise WeightsError.of("E627", f"{shown}: the file holds 0 tensors instead of one embedding")
    if len(tensors) > 1:
        raise WeightsError.of("E646", f"{shown}: the file holds {len(tensors)} tensors instead of one embedding")
    (info,) = tensors.values()
    if info.dtype not in ("F64", "F32", "F16", "BF16"):
        raise WeightsError.of("E646", f"{shown}: the data type is {info.dtype}, not floating-point")
    return info.shape


def _numpy_shape(path: Path, shown: str) -> Shape:
    array = read_array(path, shown, mapped=True)
    if array.dtype.kind != "f":
        raise WeightsError.of("E646", f"{shown}: the data type is {array.dtype}, not floating-point")
    return tuple(array.shape)


def read_array(path: Path, shown: str, *, mapped: bool) -> np.ndarray[Any, Any]:
    """The array in a .npy file, read whole or `mapped` into memory; nothing in it is unpickled.

    Raises:
        WeightsError: E627 it is damaged, or holds Python objects.
    """
    import numpy as np  # noqa: PLC0415 - only recipes with such a file need it to be planned

    mode: Literal["r"] | None = None
    if mapped:
        mode = "r"
    try:
        with warnings.catch_warnings():
            # numpy warns about the syntax of a damaged header.
            warnings.simplefilter("ignore")
            found: np.ndarray[Any, Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    except _DAMAGED as error:
        hint = "write the embedding with numpy.save, or download or copy the file again"
        raise WeightsError.of(
            "E627", f"{shown}: the array cannot be read without unpickling ({error})", hint
        ) from error
    return found


def read_as(shape: Shape, width: int, *, patches: bool, paired: bool = False, shown: str) -> Embeds:
    """What an array of this shape means to an adapter that reads `width` features.

    For one image it is [width], or [patches, width] if the adapter reads the encoder's hidden states; for n images
    [n, …]; and [1, n, …] or, with the negative embeddings first, [2, n, …], as `prepare_ip_adapter_image_embeds`
    returns it. If that function gives no dimension for images (`paired`), [1, …] and [2, …] are one image, the latter
    with its negative embedding.

    Raises:
        WeightsError: E646 another width or number of dimensions.
    """
    if not shape or shape[-1] != width:
        message = f"{shown}: the embedding has the shape {list(shape)}, and the adapter reads {width} features"
        raise WeightsError.of("E646", message)
    message = f"{shown}: the embedding has the shape {list(shape)}"
    one, form = 1, f"[{width}]"
    if patches:
        one, form = 2, f"[patches, {width}]"
    if 0 in shape or not one <= len(shape) <= one + 2:
        hint = f"one image is {form}, n images are [n, …], or [2, n, …] with the negative embeddings first"
        raise WeightsError.of("E646", message, hint)
    if len(shape) == one:
        return Embeds(1, negative=False)
    if len(shape) == one + 1:
        if not paired:
            return Embeds(shape[0], negative=False)
        if shape[0] > _PAIR:
            hint = f"several images are [1, n, patches, {width}], or [2, n, …] with the negative embeddings first"
            raise WeightsError.of("E646", message, hint)
        return Embeds(1, negative=shape[0] == _PAIR)
    if shape[0] > _PAIR:
        hint = "the dimension before the images must be 1, or 2 with the negative embeddings first"
        raise WeightsError.of("E646", message, hint)
    return Embeds(shape[1], negative=shape[0] == _PAIR)
