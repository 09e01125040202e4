"""List the tensors of a weights file of any container: names, dtypes and shapes. Tensor data is not read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.formats import DOWNLOAD_AGAIN, Format, identify_format, not_weights
from recipe_runner.weights.files.header import DTYPE_BITS, Header, read_header
from recipe_runner.weights.modules import Shape

_WRAPPER = "state_dict."


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The tensors of one file, or of all shards of one component.

    Attributes:
        format: the container.
        shapes: tensor name to shape, in the order of the file.
        dtypes: tensor name to dtype, as safetensors names it, or as GGUF does for a quantised tensor.
        metadata: the metadata of a safetensors file.
        values: short texts and numbers stored beside the tensors of a pickle or GGUF file.
        size: the file's size in bytes.
        header: the header of a safetensors file.
        foreign: the names that unpickling the file would import and that plain tensors do not need.
    """

    format: Format
    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    header: Header | None = None
    foreign: tuple[str, ...] = ()

    @property
    def weights(self) -> Mapping[str, Shape]:
        """The tensors that a run reads: only those in `state_dict`, when a training framework stored more."""
        found = self.shapes
        while any(name.startswith(_WRAPPER) for name in found):
            found = unwrapped(found, _WRAPPER)
        return found

    def not_floating(self) -> frozenset[str]:
        """The names of the tensors that hold integers, booleans or complex numbers."""
        return frozenset(name for name, dtype in self.dtypes.items() if re.fullmatch(r"[IUC]\d+|BOOL", dtype))

    def parameters(self) -> int:
        """The number of values in all tensors."""
        return sum(prod(shape) for shape in self.shapes.values())

    def dtype_counts(self) -> dict[str, int]:
        """The number of tensors of each dtype, the most frequent dtype first."""
        counts: dict[str, int] = {}
        for dtype in self.dtypes.values():
            counts[dtype] = counts.get(dtype, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def read_contents(path: Path) -> Contents:
    """List what the file at `path` contains.

    Raises:
        WeightsError: E401 or E415 the file cannot be read; E410, E420 or E421 it is broken; E411 it is a pointer or a
            web page; E412 it is not a weights file.
    """
    found = identify_format(path)
    if found == "safetensors":
        return of_header(read_header(path))
    # The other readers are imported only when needed, so that safetensors headers are read fast.
    if found in ("torch_zip", "pickle"):
        return _of_pickle(found, path)
    if found == "gguf":
        return _of_gguf(path)
    raise not_weights(path, found)


def read_weights(path: Path, shown: str) -> Contents:
    """As `read_contents`, for a file that is going to be used: tensors, and no code. Errors name it as `shown`.

    Raises:
        WeightsError: as `read_contents`; E412 the file has no tensors; E607 it contains more than plain tensors.
    """
    contents = read_contents(path)
    if contents.foreign:
        from recipe_runner.weights.files.torch_file import require_inert  # noqa: PLC0415

        require_inert(contents.foreign, shown)
    if not contents.shapes:
        raise WeightsError.of("E412", f"{shown}: the file contains no tensors", DOWNLOAD_AGAIN)
    return contents


def of_header(header: Header) -> Contents:
    """The contents of a safetensors file, from its header."""
    return Contents(
        format="safetensors",
        shapes=header.shapes,
        dtypes={name: info.dtype for name, info in header.tensors.items()},
        metadata=header.metadata,
        size=header.size,
        header=header,
    )


def _of_pickle(container: Format, path: Path) -> Contents:
    from recipe_runner.weights.files.torch_file import read_torch_file  # noqa: PLC0415

    found = read_torch_file(path)
    return Contents(
        format=container,
        shapes={name: tensor.shape for name, tensor in found.tensors.items()},
        dtypes={name: tensor.dtype for name, tensor in found.tensors.items()},
        values=found.values,
        size=path.stat().st_size,
        foreign=found.foreign,
    )


def _of_gguf(path: Path) -> Contents:
    from recipe_runner.weights.files.gguf import read_gguf  # noqa: PLC0415

    gguf = read_gguf(path)
    return Contents(
        format="gguf",
        shapes={name: shape for name, (_, shape) in gguf.tensors.items()},
        dtypes={name: dtype for name, (dtype, _) in gguf.tensors.items()},
        values=gguf.values,
        size=path.stat().st_size,
    )


def unwrapped(shapes: Mapping[str, Shape], wrapper: str) -> dict[str, Shape]:
    """The tensors whose names begin with `wrapper`, without it."""
    return {name.removeprefix(wrapper): shape for name, shape in shapes.items() if name.startswith(wrapper)}


def stored_bytes(contents: Contents) -> int:
    """Bytes of the tensors: as stored for safetensors, else by dtype. Quantised GGUF tensors are not counted."""
    if contents.header is not None:
        return contents.header.size - contents.header.data_start
    total = 0
    for name, dtype in contents.dtypes.items():
        total += prod(contents.shapes[name]) * DTYPE_BITS.get(dtype, 0) // 8
    return total
