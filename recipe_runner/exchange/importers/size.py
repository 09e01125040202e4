"""The size of a picture whose recipe names none: the model's own, from its configuration files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.plan.resolved import ResolvedBase

_LATENT = 8
_FIRST_STABLE_DIFFUSION = "StableDiffusionPipeline"


def picture_size(base: ResolvedBase, sampling: Mapping[str, Json]) -> tuple[int, int]:
    """Height and width in pixels, as the pipeline's call decides them; without the files as most models have them."""
    own = _own_size(base)
    height, width = sampling.get("height"), sampling.get("width")
    if base.pipeline == _FIRST_STABLE_DIFFUSION and not (height and width):
        # This pipeline takes its own size unless both are given.
        return own, own
    return (height if isinstance(height, int) else own), (width if isinstance(width, int) else own)


def size_note(base: ResolvedBase, sampling: Mapping[str, Json]) -> str | None:
    """A sentence where the size is a guess."""
    source = base.config if base.weight_name is not None else base.source
    if (sampling.get("height") and sampling.get("width")) or isinstance(source, Source):
        return None
    height, width = picture_size(base, sampling)
    return f"the base is not on this machine, so its own size is not known: {width}x{height} is written"


def _own_size(base: ResolvedBase) -> int:
    usual = 512 if base.pipeline == _FIRST_STABLE_DIFFUSION else 1024
    source = base.config if base.weight_name is not None else base.source
    if not isinstance(source, Source):
        return usual
    blocks = _config(source, "vae").get("block_out_channels")
    scale = 2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else _LATENT
    size = _config(source, "unet").get("sample_size", _config(source, "transformer").get("sample_size"))
    return size * scale if isinstance(size, int) else usual


def _config(source: Source, component: str) -> Mapping[str, Any]:
    path = source.root / component / "config.json"
    if not path.is_file():
        return {}
    tree = json.loads(path.read_bytes())
    return tree if isinstance(tree, Mapping) else {}
