"""The size of an image whose recipe names none: the model's own, from its configuration files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.foreign_json import mapping
from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.plan.resolved_base import AnySource, ResolvedBase

_LATENT = 8
_FIRST_STABLE_DIFFUSION = "StableDiffusionPipeline"


def picture_size(base: ResolvedBase, sampling: Mapping[str, Json]) -> tuple[int, int]:
    """Height and width in pixels that the pipeline's call takes; without the files, those of most models."""
    own = _own_size(base)
    height, width = sampling.get("height"), sampling.get("width")
    if base.pipeline == _FIRST_STABLE_DIFFUSION and not (height and width):
        # This pipeline takes its own size unless both are given.
        return own, own
    return _integer(height, own), _integer(width, own)


def size_note(base: ResolvedBase, sampling: Mapping[str, Json]) -> str | None:
    """A sentence when the size is a guess."""
    if (sampling.get("height") and sampling.get("width")) or isinstance(_configured(base), Source):
        return None
    height, width = picture_size(base, sampling)
    return f"the base is not on this machine, so its own size is not known: {width}x{height} is written"


def _own_size(base: ResolvedBase) -> int:
    usual = 512 if base.pipeline == _FIRST_STABLE_DIFFUSION else 1024
    source = _configured(base)
    if not isinstance(source, Source):
        return usual
    size = _config(source, "unet").get("sample_size", _config(source, "transformer").get("sample_size"))
    if not isinstance(size, int):
        return usual
    blocks = _config(source, "vae").get("block_out_channels")
    if isinstance(blocks, list) and blocks:
        scale: int = 2 ** (len(blocks) - 1)
        return size * scale
    return size * _LATENT


def _configured(base: ResolvedBase) -> AnySource | None:
    """The source of the base's configuration files."""
    if base.weight_name is None:
        return base.source
    return base.config


def _integer(value: Json, default: int) -> int:
    return value if isinstance(value, int) else default


def _config(source: Source, component: str) -> Mapping[str, Any]:
    path = source.root / component / "config.json"
    if not path.is_file():
        return {}
    return mapping(json.loads(path.read_bytes()))
