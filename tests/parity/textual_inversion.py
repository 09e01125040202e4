"""Textual inversion: `load_textual_inversion` of diffusers' two layouts, safetensors and pickled, used together."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
# The token comes from the file: <gta5-artwork>.
pipeline.load_textual_inversion(folder / "concept")
pipeline.load_textual_inversion(folder, weight_name="cat.bin", token="<cat-toy>")  # noqa: S106 - no password
prompts = ("a red circle, <gta5-artwork> style", "a <cat-toy> on a <gta5-artwork>, <cat-toy><cat-toy>")
images = [
    pipeline(prompt, num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0] for prompt in prompts
]
np.save(output, np.stack([np.asarray(image) for image in images]))
