"""Files with a true header and no room on the disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from recipe_runner.weights.modules import Shape


def write_sparse(path: Path, shapes: Mapping[str, Shape], metadata: Mapping[str, str] | None = None) -> Path:
    """A half-precision file of these tensors, all zero; the zeros are a hole in the file."""
    tree: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        start, count = end, 2
        for size in shape:
            count *= size
        end = start + count
        tree[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(tree).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + end)
    return path
