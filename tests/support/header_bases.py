"""Bases of true shape whose files are headers alone: everything that planning asks of them, and nothing to load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.key_tables import read_key_table
from support.sparse import write_sparse

from recipe_runner.sources.bundled import bundled_config

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLES = Path(__file__).parents[1] / "weights" / "layouts" / "identify"
_PARTS = {
    "sd1": {"unet": "unet-sd1", "text_encoder": "text-encoder-clip-l", "vae": "vae-sd"},
    "sdxl": {
        "unet": "unet-sdxl",
        "text_encoder": "text-encoder-clip-l",
        "text_encoder_2": "text-encoder-clip-g",
        "vae": "vae-sd",
    },
}


def table(name: str) -> Mapping[str, tuple[int, ...]]:
    """Key to shape of a table in tests/weights/layouts/identify."""
    tensors: Mapping[str, tuple[int, ...]] = read_key_table(TABLES / f"{name}.json")["tensors"]
    return tensors


def write_table(path: Path, name: str) -> Path:
    """A file with the header of a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_sparse(path, table(name))


def header_base(folder: Path, family: str) -> Path:
    """A pipeline folder of `family` (sd1 or sdxl) with its configurations and tokenizers."""
    shutil.copytree(bundled_config(family).root, folder)
    for component, name in _PARTS[family].items():
        stem = "model" if component.startswith("text_encoder") else "diffusion_pytorch_model"
        write_table(folder / component / f"{stem}.safetensors", name)
    return folder


def flux_base(folder: Path, transformer: str = "flux1") -> Path:
    """A Flux pipeline folder with a transformer and nothing else that has weights."""
    index = {
        "_class_name": "FluxPipeline",
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    }
    _json(folder / "model_index.json", index)
    _json(folder / "scheduler" / "scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"})
    _json(folder / "transformer" / "config.json", {"_class_name": "FluxTransformer2DModel"})
    write_table(folder / "transformer" / "diffusion_pytorch_model.safetensors", transformer)
    return folder


def _json(path: Path, tree: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))
