"""Build safetensors files byte by byte, so that tests can build broken ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from recipe_runner.weights.files.header import DTYPE_BITS


def header_bytes(tree: Any, *, length: int | None = None) -> bytes:
    """The length and JSON of a header; `length` lies about it."""
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


def whole(
    shapes: Mapping[str, Sequence[int]], *, dtype: str = "F16", metadata: Mapping[str, str] | None = None
) -> bytes:
    """A valid file whose tensors are all zero."""
    tree: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, shape in shapes.items():
        count = DTYPE_BITS[dtype] // 8
        for size in shape:
            count *= size
        tree[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, start + count]}
        start += count
    return header_bytes(tree) + bytes(start)
