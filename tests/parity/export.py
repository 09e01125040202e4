"""An exported adapter, at model level: `load_lora_adapter(..., prefix=None)` reads what `save_lora_adapter` writes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.unet.load_lora_adapter(folder, weight_name="exported.safetensors", prefix=None)
image = pipeline("a red star", num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0]
np.save(output, np.asarray(image)[None])
