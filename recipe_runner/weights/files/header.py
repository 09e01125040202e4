"""Read a safetensors header, strictly: nothing after the header is read, and nothing in it is believed unchecked.

The format: eight bytes little-endian length N, N bytes of JSON `{name: {dtype, shape, data_offsets}}` with an optional
`__metadata__` of strings, then the tensors, end to end (https://github.com/huggingface/safetensors#format).
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

from recipe_runner.weights.files.formats import cannot_read, require_weights, weights_error

DTYPE_BITS: Mapping[str, int] = MappingProxyType({
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
})  # fmt: skip

_BITS = dict(DTYPE_BITS)
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 32_000_000
"""Largest header read. Real ones stay under 2 MB; the format's own limit of 100 MB would take a second to parse."""
MAX_DIMENSIONS = 16
_MAX_DIMENSION = 2**63 - 1
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}
_REPLACEMENT = b"\xef\xbf\xbd"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: its dtype (safetensors' name), shape, and bytes [start, end) after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one file. `size` is the file's size in bytes; the tensors' bytes begin at `data_start`."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    size: int
    data_start: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, in the file's order of keys."""
        return {name: info.shape for name, info in self.tensors.items()}


class _Broken(Exception):
    """Why a header is refused."""


def read_header(path: Path) -> Header:
    """The header of the safetensors file at `path`.

    Raises:
        WeightsError: E401/E415 unreadable, E406 a pickle, E411 a pointer or web page instead of weights, E412 not
            safetensors, E410 a safetensors file that is broken, with what is wrong with it.
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
    except _Broken as error:
        hint = "download or copy the file again"
        raise weights_error("E410", path, f"a broken safetensors file: {error}", hint) from error
    if known is not None:
        known[path] = header
    return header


_KNOWN: ContextVar[dict[Path, Header] | None] = ContextVar("known", default=None)


@contextmanager
def remembered_headers() -> Iterator[None]:
    """In the block, and blocks inside it, each header is read once: all is then asked of the same one."""
    known = _KNOWN.get()
    token = _KNOWN.set({} if known is None else known)
    try:
        yield
    finally:
        _KNOWN.reset(token)


def _header_length(prefix: bytes, size: int) -> int:
    length = int.from_bytes(prefix, "little")
    available = size - LENGTH_BYTES
    if length > available or length > MAX_HEADER_BYTES:
        if _REPLACEMENT in prefix:
            message = "it was converted as if it were text, which destroys it"
        elif length > available and length <= MAX_HEADER_BYTES:
            message = f"its header is {length} bytes long and only {available} follow: it is cut short"
        else:
            message = f"its header claims to be {length} bytes long; at most {MAX_HEADER_BYTES} are read"
        raise _Broken(message)
    return length


def parse_header(text: bytes, size: int) -> Header:
    """The checked header whose JSON is `text`, in a file of `size` bytes."""
    tree = _json(text)
    metadata = tree.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        message = "its metadata is not a mapping of strings to strings"
        raise _Broken(message)
    tensors = {name: _tensor(name, entry) for name, entry in tree.items()}
    data_start = LENGTH_BYTES + len(text)
    _check_spans(tensors, size - data_start)
    return Header(MappingProxyType(tensors), MappingProxyType(metadata), size, data_start)


def _json(text: bytes) -> dict[str, Any]:
    if _REPLACEMENT in text:
        message = "its header holds replacement characters (U+FFFD): it was converted as if it were text"
        raise _Broken(message)
    try:
        tree = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        message = f"its header is not UTF-8 (byte {error.start})"
        raise _Broken(message) from error
    except RecursionError as error:
        message = "its header is nested too deeply"
        raise _Broken(message) from error
    except ValueError as error:  # JSONDecodeError, and integers with thousands of digits
        message = f"its header is not JSON ({error})"
        raise _Broken(message) from error
    if not isinstance(tree, dict):
        message = "its header is not a JSON object"
        raise _Broken(message)
    return tree


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                message = f"its header has the key {name[:200]!r} twice"
                raise _Broken(message)
            seen.add(name)
    return mapping


def _no_constant(name: str) -> None:
    message = f"its header holds {name}"
    raise _Broken(message)


def _is_count(value: object, limit: int = _MAX_DIMENSION) -> bool:
    return type(value) is int and 0 <= value <= limit


def _tensor(name: str, entry: object) -> TensorInfo:
    made = _whole(entry)
    if made is not None:
        return made
    shown = repr(name[:200])
    if not isinstance(entry, dict) or entry.keys() != _ENTRY_KEYS:
        message = f"the entry of tensor {shown} is not {{dtype, shape, data_offsets}}"
        raise _Broken(message)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        message = f"tensor {shown} has an unknown dtype {dtype!r:.60}"
        raise _Broken(message)
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(_is_count(n) for n in shape):
        message = f"tensor {shown} has no valid shape: {shape!r:.60}"
        raise _Broken(message)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(n) for n in offsets):  # noqa: PLR2004
        message = f"tensor {shown} has no valid data_offsets: {offsets!r:.60}"
        raise _Broken(message)
    start, end = offsets
    bits = prod(shape) * DTYPE_BITS[dtype]
    if bits % 8 or end - start != bits // 8:
        message = f"tensor {shown} of shape {shape} and dtype {dtype} needs {bits / 8:g} bytes, not {end - start}"
        raise _Broken(message)
    return TensorInfo(dtype, tuple(shape), start, end)


def _whole(entry: object) -> TensorInfo | None:
    """The tensor of an entry that is as most are; None sends it to the checks that say what is wrong."""
    if not isinstance(entry, dict) or len(entry) != 3:  # noqa: PLR2004 - the keys of an entry
        return None
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    bits = _BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None or type(shape) is not list or type(offsets) is not list or len(offsets) != 2:  # noqa: PLR2004
        return None
    start, end = offsets
    if type(start) is not int or type(end) is not int or not 0 <= start <= end <= _MAX_DIMENSION:
        return None
    for size in shape:
        if type(size) is not int or not 0 <= size <= _MAX_DIMENSION:
            return None
        bits *= size
    if bits != (end - start) * 8 or len(shape) > MAX_DIMENSIONS:
        return None
    return TensorInfo(entry["dtype"], tuple(shape), start, end)


def _check_spans(tensors: Mapping[str, TensorInfo], available: int) -> None:
    """Every byte after the header must belong to exactly one tensor."""
    reached = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != reached:
            kind = "overlaps the one before it" if info.start < reached else "leaves a hole before it"
            message = f"tensor {name[:200]!r} {kind} (it begins at {info.start}, not {reached})"
            raise _Broken(message)
        reached = info.end
    if reached > available:
        message = f"its tensors need {reached} bytes and only {available} follow the header: it is cut short"
        raise _Broken(message)
    if reached < available:
        message = (
            f"{available - reached} bytes follow that belong to no tensor: it was converted as text, or something was "
            "appended"
        )
        raise _Broken(message)
