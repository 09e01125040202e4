"""Read and check a safetensors header; nothing after the header is read.

The format: eight bytes little-endian length N, N bytes of JSON `{name: {dtype, shape, data_offsets}}` with an optional
`__metadata__` of strings, then the data of the tensors, without gaps (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

from recipe_runner.weights.files.formats import DOWNLOAD_AGAIN, cannot_read, require_weights, weights_error

DTYPE_BITS: Mapping[str, int] = MappingProxyType({
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
})  # fmt: skip

_BITS = dict(DTYPE_BITS)
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 32_000_000
"""Largest header that is read. Real ones are below 2 MB; parsing the format's maximum of 100 MB takes a second."""
MAX_DIMENSIONS = 16
_MAX_DIMENSION = 2**63 - 1
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}
_REPLACEMENT = b"\xef\xbf\xbd"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: its safetensors dtype, its shape, and its bytes [start, end) after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one file. `size` is the file's size in bytes; the tensor data begins at byte `data_start`."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    size: int
    data_start: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, in the order of the file."""
        return {name: info.shape for name, info in self.tensors.items()}


class _BrokenHeader(Exception):
    """What is wrong with a header."""


def read_header(path: Path) -> Header:
    """The header of the safetensors file at `path`.

    Raises:
        WeightsError: E401 or E415 the file cannot be read, E406 it is a pickle, E411 it is a pointer or a web page,
            E412 it is another kind of file, E410 it is a broken safetensors file.
    """
    path = Path(path)
    known = _KNOWN.get()
    if known is not None and path in known:
        return known[path]
    require_weights(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = _header_length(file.read(LENGTH_BYTES), size)
            header = parse_header(file.read(length), size)
    except OSError as error:
        raise cannot_read(path, error) from error
    except _BrokenHeader as error:
        raise weights_error("E410", path, f"broken safetensors file: {error}", DOWNLOAD_AGAIN) from error
    if known is not None:
        known[path] = header
    return header


_KNOWN: ContextVar[dict[Path, Header] | None] = ContextVar("known", default=None)


@contextmanager
def remembered_headers() -> Iterator[None]:
    """Read each header only once in this block and in the blocks inside it."""
    known = _KNOWN.get()
    token = _KNOWN.set({} if known is None else known)
    try:
        yield
    finally:
        _KNOWN.reset(token)


def _header_length(prefix: bytes, size: int) -> int:
    length = int.from_bytes(prefix, "little")
    available = size - LENGTH_BYTES
    if length <= available and length <= MAX_HEADER_BYTES:
        return length
    if _REPLACEMENT in prefix:
        message = "it was converted as text, which destroys binary files"
        raise _BrokenHeader(message)
    if length <= MAX_HEADER_BYTES:
        message = f"its header is {length} bytes long, but only {available} bytes follow: it is cut short"
        raise _BrokenHeader(message)
    message = f"its header claims to be {length} bytes long; at most {MAX_HEADER_BYTES} bytes are read"
    raise _BrokenHeader(message)


def parse_header(text: bytes, size: int) -> Header:
    """Parse and check the JSON `text` of the header of a file of `size` bytes."""
    tree = _json(text)
    metadata = tree.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        message = "its metadata is not a mapping of strings to strings"
        raise _BrokenHeader(message)
    tensors = {name: _tensor(name, entry) for name, entry in tree.items()}
    data_start = LENGTH_BYTES + len(text)
    _check_spans(tensors, size - data_start)
    return Header(MappingProxyType(tensors), MappingProxyType(metadata), size, data_start)


def _json(text: bytes) -> dict[str, Any]:
    if _REPLACEMENT in text:
        message = "its header contains replacement characters (U+FFFD): it was converted as text"
        raise _BrokenHeader(message)
    try:
        tree = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        message = f"its header is not UTF-8 (byte {error.start})"
        raise _BrokenHeader(message) from error
    except RecursionError as error:
        message = "its header is nested too deeply"
        raise _BrokenHeader(message) from error
    except ValueError as error:  # JSONDecodeError, and integers with thousands of digits
        message = f"its header is not JSON ({error})"
        raise _BrokenHeader(message) from error
    if not isinstance(tree, dict):
        message = "its header is not a JSON object"
        raise _BrokenHeader(message)
    return tree


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) == len(pairs):
        return mapping
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            message = f"its header has the key {name[:200]!r} twice"
            raise _BrokenHeader(message)
        seen.add(name)
    return mapping


def _no_constant(name: str) -> None:
    message = f"its header contains {name}"
    raise _BrokenHeader(message)


def _tensor(name: str, entry: object) -> TensorInfo:
    tensor = _valid_tensor(entry)
    if tensor is None:
        raise _BrokenHeader(_fault(repr(name[:200]), entry))
    return tensor


def _valid_tensor(entry: object) -> TensorInfo | None:
    """The tensor that an entry describes; None when anything is wrong with it."""
    if not isinstance(entry, dict) or len(entry) != len(_ENTRY_KEYS):
        return None
    bits = _bits(entry.get("dtype"), entry.get("shape"))
    span = _span(entry.get("data_offsets"))
    if bits is None or span is None:
        return None
    start, end = span
    if bits != (end - start) * 8:
        return None
    return TensorInfo(entry["dtype"], tuple(entry["shape"]), start, end)


def _bits(dtype: object, shape: object) -> int | None:
    """Bits of a tensor; None unless dtype and shape are valid."""
    if not isinstance(dtype, str) or type(shape) is not list or len(shape) > MAX_DIMENSIONS:
        return None
    bits = _BITS.get(dtype)
    if bits is None:
        return None
    for size in shape:
        if type(size) is not int or not 0 <= size <= _MAX_DIMENSION:
            return None
        bits *= size
    return bits


def _span(offsets: object) -> tuple[int, int] | None:
    """Start and end of a tensor's bytes; None unless the offsets are valid."""
    if type(offsets) is not list or len(offsets) != 2:  # noqa: PLR2004
        return None
    start, end = offsets
    if type(start) is not int or type(end) is not int or not 0 <= start <= end <= _MAX_DIMENSION:
        return None
    return start, end


def _fault(name: str, entry: object) -> str:
    """What is wrong with an entry that does not describe a valid tensor."""
    if not isinstance(entry, dict) or entry.keys() != _ENTRY_KEYS:
        return f"the entry of tensor {name} is not {{dtype, shape, data_offsets}}"
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        return f"tensor {name} has an unknown dtype {dtype!r:.60}"
    if not _is_list_of_counts(shape) or len(shape) > MAX_DIMENSIONS:
        return f"tensor {name} has an invalid shape: {shape!r:.60}"
    if not _is_list_of_counts(offsets) or len(offsets) != 2:  # noqa: PLR2004
        return f"tensor {name} has invalid data_offsets: {offsets!r:.60}"
    needed = prod(shape) * DTYPE_BITS[dtype] / 8
    return f"tensor {name} of shape {shape} and dtype {dtype} needs {needed:g} bytes, not {offsets[1] - offsets[0]}"


def _is_list_of_counts(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(type(number) is int and 0 <= number <= _MAX_DIMENSION for number in value)


def _check_spans(tensors: Mapping[str, TensorInfo], available: int) -> None:
    """Raise unless every byte after the header belongs to exactly one tensor."""
    reached = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start < reached:
            message = f"tensor {name[:200]!r} overlaps the previous tensor (it begins at {info.start}, not {reached})"
            raise _BrokenHeader(message)
        if info.start > reached:
            message = f"there is a gap before tensor {name[:200]!r} (it begins at {info.start}, not {reached})"
            raise _BrokenHeader(message)
        reached = info.end
    if reached > available:
        message = f"its tensors need {reached} bytes, but only {available} follow the header: it is cut short"
        raise _BrokenHeader(message)
    if reached < available:
        message = (
            f"{available - reached} bytes at its end belong to no tensor: it was converted as text, or something was "
            "appended"
        )
        raise _BrokenHeader(message)
