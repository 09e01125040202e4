"""Several IP-Adapters, one of them shown several images; a scale for each, one of them by block."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import load_image

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_ip_adapter(
    folder, subfolder="models", weight_name=["look.safetensors", "look-full.safetensors", "look-plus.safetensors"]
)
pipeline.set_ip_adapter_scale([0.7, {"up": 0.9, "mid": 0.4}, 0.3])
bear, other = (load_image(str(folder / name)) for name in ("bear.png", "other.png"))
image = pipeline(
    "a red star",
    ip_adapter_image=[[bear, other], other, bear],
    num_inference_steps=3,
    generator=torch.Generator().manual_seed(1),
).images[0]
np.save(output, np.asarray(image)[None])
