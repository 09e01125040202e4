"""GGUF and torch files, byte by byte."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path


def gguf_bytes(tensors: Mapping[str, tuple[int, ...]], values: dict[str, str]) -> bytes:
    """A GGUF header of these tensors (all Q4_K) and texts."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for name, value in values.items():
        out += text(name) + struct.pack("<I", 8) + text(value)
    for name, shape in tensors.items():
        out += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        out += struct.pack("<IQ", 12, 0)
    return out


def torch_zip(path: Path, data: bytes) -> Path:
    """A file as torch.save makes it, around this pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
    return path


def torch_pickle(name: str, rows: int, columns: int) -> bytes:
    """The pickle that torch.save writes of one matrix of floats, opcode by opcode."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(rows * columns)
    shape = b"(" + number(rows) + number(columns) + b"t"
    strides = b"(" + number(columns) + number(1) + b"t"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQ" + number(0) + shape + strides
    tensor += b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}" + text(name) + tensor + b"s."
