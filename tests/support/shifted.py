"""Safetensors files with the same tensors elsewhere: what a longer header does to every tensor's place."""

from __future__ import annotations

import shutil
from pathlib import Path

_LENGTH_BYTES = 8


def shifted(path: Path, target: Path, more: int) -> Path:
    """Write the file `path` to `target` with its tensors `more` bytes after a multiple of 64."""
    data = path.read_bytes()
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = data[_LENGTH_BYTES:end].rstrip(b" ")
    header += b" " * (-(_LENGTH_BYTES + len(header)) % 64 + more)
    target.write_bytes(len(header).to_bytes(_LENGTH_BYTES, "little") + header + data[end:])
    return target


def shifted_folder(folder: Path, target: Path, more: int) -> Path:
    """Copy `folder` to `target`, every safetensors file of it shifted."""
    shutil.copytree(folder, target)
    for path in target.rglob("*.safetensors"):
        shifted(path, path, more)
    return target
