"""Recorded runs made by hand, with real pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from support.command import ROOT
from support.manifests import manifest

from recipe_runner.record.manifest import ImageRecord, Manifest, manifest_bytes

Pixels = NDArray[np.uint8]
RECIPE = f"""\
recipe: 1
name: cereal-or-film
base: {{model: {ROOT}/recipes/demo/model}}
adapters: {{cereal: {{kind: lora, model: some/lora, scale: 1.0}}}}
prompts: [{{id: bears, prompt: bears}}, {{id: cat, prompt: a cat}}]
seeds: [33, 34]
matrix: {{adapters.cereal.scale: [0.0, 0.5]}}
sampling: {{num_inference_steps: STEPS}}
"""


def pixels(seed: int, size: tuple[int, int] = (48, 64)) -> Pixels:
    """Noise, [H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def write_run(
    folder: Path,
    changes: Mapping[int, Pixels] | None = None,
    *,
    steps: int = 10,
    base: Manifest | None = None,
    make: Callable[[int], Pixels] = pixels,
    **update: Any,
) -> Manifest:
    """A run in `folder`, of the pictures of `base`; `changes` are the pixels of some, by position."""
    (folder / "images").mkdir(parents=True)
    base = base or manifest()
    records: list[ImageRecord] = []
    for index, image in enumerate(base.images):
        picture = changes[index] if changes and index in changes else make(index)
        Image.fromarray(picture).save(folder / image.path, compress_level=1)
        digests = {
            "file_sha256": hashlib.sha256((folder / image.path).read_bytes()).hexdigest(),
            "pixel_sha256": hashlib.sha256(picture.tobytes()).hexdigest(),
            "height": picture.shape[0],
            "width": picture.shape[1],
        }
        records.append(image.model_copy(update=digests))
    made = base.model_copy(update={"images": tuple(records), **update})
    (folder / "manifest.json").write_bytes(manifest_bytes(made))
    recipe = RECIPE.replace("STEPS", str(steps))
    for name in ("resolved.yaml", "recipe.yaml"):
        (folder / name).write_text(recipe)
    (folder / "recipe.lock.yaml").write_text("lock: 1\nsources: {}\n")
    invocation = {
        "started": "2026-01-02T03:04:05+00:00",
        "made": len(records),
        "reused": 0,
        "seconds": {"total": 10.0, "encode_prompt": 1.0, "denoise": 7.5},
        "host": {"name": "secret-host", "platform": "Linux"},
        "warnings": ["a prompt is too long [W751]"],
    }
    (folder / "telemetry.json").write_text(json.dumps({"telemetry": 1, "invocations": [invocation]}))
    return made
