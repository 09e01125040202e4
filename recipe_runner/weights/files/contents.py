"""What a weights file of any container holds: names, dtypes and shapes of its tensors, without reading one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.formats import Format, identify_format, not_weights
from recipe_runner.weights.files.header import DTYPE_BITS, Header, read_header
from recipe_runner.weights.modules import Shape

_WRAPPER = "state_dict."


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The tensors of one file, or of one component's shards.

    Attributes:
        format: the container.
        shapes: tensor name to shape, in the file's order.
        dtypes: tensor name to dtype: safetensors' names, or GGUF's for quantised tensors.
        metadata: the texts that a safetensors file carries.
        values: short texts and numbers beside the tensors of a pickle or GGUF file.
        size: the file's size in bytes.
        header: the header of a safetensors file.
        foreign: what unpickling the file would import beyond plain tensors.
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
        """The tensors that a run reads: those of `state_dict`, where a training framework wrote more beside them."""
        found = self.shapes
        while any(name.startswith(_WRAPPER) for name in found):
            found = {name.removeprefix(_WRAPPER): shape for name, shape in found.items() if name.startswith(_WRAPPER)}
        return found

    def not_floating(self) -> frozenset[str]:
        """The tensors that hold integers, truth values or complex numbers."""
        return frozenset(name for name, dtype in self.dtypes.items() if re.fullmatch(r"[IUC]\d+|BOOL", dtype))

    def parameters(self) -> int:
        """How many numbers the tensors hold."""
        return sum(prod(shape) for shape in self.shapes.values())

    def dtype_counts(self) -> dict[str, int]:
        """How many tensors have each dtype, the most frequent first."""
        counts: dict[str, int] = {}
        for dtype in self.dtypes.values():
            counts[dtype] = counts.get(dtype, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def read_contents(path: Path) -> Contents:
    """What the file at `path` holds.

    Raises:
        WeightsError: E401/E415 unreadable; E410, E420, E421 broken; E411 a pointer, a web page or nothing at all; E412
            no weights file.
    """
    found = identify_format(path)
    if found == "safetensors":
        return of_header(read_header(path))
    # The others are imported where there is one: reading a safetensors header needs neither.
    if found in ("torch_zip", "pickle"):
        return _of_pickle(found, path)
    if found == "gguf":
        from recipe_runner.weights.files.gguf import read_gguf  # noqa: PLC0415

        gguf = read_gguf(path)
        return Contents(
            format="gguf",
            shapes={name: shape for name, (_, shape) in gguf.tensors.items()},
            dtypes={name: dtype for name, (dtype, _) in gguf.tensors.items()},
            values=gguf.values,
            size=path.stat().st_size,
        )
    raise not_weights(path, found)


def read_weights(path: Path, shown: str) -> Contents:
    """What the file at `path` holds, where it is to be used: tensors and nothing that runs. `shown` names it.

    Raises:
        WeightsError: as `read_contents`; E412 it holds no tensors, E607 other things than tensors.
    """
    contents = read_contents(path)
    if contents.foreign:
        from recipe_runner.weights.files.torch_file import require_inert  # noqa: PLC0415

        require_inert(contents.foreign, shown)
    if not contents.shapes:
        raise WeightsError.of("E412", f"{shown}: the file holds no tensors", "download or copy the file again")
    return contents


def of_header(header: Header) -> Contents:
    """The contents that a safetensors header lists."""
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


def stored_bytes(contents: Contents) -> int:
    """Bytes of the tensors: as stored in safetensors, else by dtype; a quantised GGUF tensor's are not counted."""
    if contents.header is not None:
        return contents.header.size - contents.header.data_start
    return sum(prod(contents.shapes[name]) * DTYPE_BITS.get(dtype, 0) // 8 for name, dtype in contents.dtypes.items())
