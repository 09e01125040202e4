"""Pictures as the library sd_parsers reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from sd_parsers import ParserManager

_READ: list[Image.Image] = []


def parse(path: Path) -> Any:
    """What sd_parsers finds in the picture at `path`; None for nothing."""
    # It remembers what it last read by `id(image)`, which a later picture may come to have: none is let go.
    _READ.append(Image.open(path))
    return ParserManager().parse(_READ[-1])
