"""Read a GGUF header, as llama.cpp, stable-diffusion.cpp and ComfyUI-GGUF write it. Tensor data is not read.

The format: magic, version, two counts, key-value pairs, then name, shape (innermost dimension first), type and offset
of every tensor (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from recipe_runner.weights.files.formats import DOWNLOAD_AGAIN, cannot_read, weights_error
from recipe_runner.weights.modules import Shape

MAX_HEADER_BYTES = 128_000_000
_MOST_DIMENSIONS = 8
_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0",
}  # fmt: skip
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST_LISTED = 16
_VERSIONS = (2, 3)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """Tensors by name as (type, shape in torch's order), and the key-value pairs; a long array is only its length."""

    tensors: Mapping[str, tuple[str, Shape]]
    values: Mapping[str, Any]


class _BrokenGguf(Exception):
    """What is wrong with a header."""


def read_gguf(path: Path) -> GgufFile:
    """The header of the GGUF file at `path`.

    Raises:
        WeightsError: E401 or E415 the file cannot be read, E421 its header is broken.
    """
    try:
        with path.open("rb") as file:
            return _GgufReader(file).file()
    except OSError as error:
        raise cannot_read(path, error) from error
    except (_BrokenGguf, UnicodeDecodeError, struct.error) as error:
        raise weights_error("E421", path, f"broken GGUF file: {error}", DOWNLOAD_AGAIN) from error


class _GgufReader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MAX_HEADER_BYTES

    def file(self) -> GgufFile:
        self._bytes(4)
        version = self._number("<I")
        if version not in _VERSIONS:
            message = f"its version is {version}; known versions are {' and '.join(map(str, _VERSIONS))}"
            raise _BrokenGguf(message)
        tensor_count, value_count = self._number("<Q"), self._number("<Q")
        values: dict[str, Any] = {}
        for _ in range(value_count):
            name = self._string()
            values[name] = self._value(self._number("<I"))
        tensors: dict[str, tuple[str, Shape]] = {}
        for _ in range(tensor_count):
            name = self._string()
            tensors[name] = self._tensor(name)
        # ComfyUI-GGUF stores a convolution flat and keeps its shape in a value.
        for name, (dtype, _) in tensors.items():
            original = values.get(f"comfy.gguf.orig_shape.{name}")
            if isinstance(original, list) and all(isinstance(size, int) for size in original):
                tensors[name] = (dtype, tuple(original))
        return GgufFile(tensors, values)

    def _tensor(self, name: str) -> tuple[str, Shape]:
        count = self._number("<I")
        if count > _MOST_DIMENSIONS:
            message = f"tensor {name[:80]!r} has {count} dimensions"
            raise _BrokenGguf(message)
        shape = [self._number("<Q") for _ in range(count)]
        kind = self._number("<I")
        self._number("<Q")
        return _TYPES.get(kind, f"type {kind}"), tuple(reversed(shape))

    def _bytes(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            message = f"its header is longer than {MAX_HEADER_BYTES} bytes"
            raise _BrokenGguf(message)
        data = self._file.read(count)
        if len(data) < count:
            message = "it is cut short in its header"
            raise _BrokenGguf(message)
        return data

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._bytes(struct.calcsize(layout)))[0]

    def _string(self) -> str:
        return self._bytes(self._number("<Q")).decode()

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            message = f"a value has the unknown type {kind}"
            raise _BrokenGguf(message)
        inner, count = self._number("<I"), self._number("<Q")
        if inner == _ARRAY:
            message = "a value is an array of arrays"
            raise _BrokenGguf(message)
        if inner in _SCALARS and count > _LONGEST_LISTED:
            self._bytes(count * struct.calcsize(_SCALARS[inner]))
            return f"{count} numbers"
        kept = [self._value(inner) for _ in range(min(count, _LONGEST_LISTED))]
        for _ in range(count - len(kept)):
            self._bytes(self._number("<Q"))
        if count > _LONGEST_LISTED:
            return f"{count} texts"
        return kept
