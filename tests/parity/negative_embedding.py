"""A negative embedding: EasyNegative's layout and token, eight vectors, in the negative prompt, 50 steps.

Loaded as the loading guide does, `token="EasyNegative"`, diffusers 0.42.1 uses one of the eight vectors (see
textual_inversion_multi.py); in lower case it uses all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_textual_inversion(folder, weight_name="EasyNegative.safetensors", token="easynegative")  # noqa: S106 - no password
image = pipeline(
    "a bear", negative_prompt="easynegative", num_inference_steps=50, generator=torch.Generator().manual_seed(1)
).images[0]
np.save(output, np.asarray(image)[None])
