"""Several LoRAs: `set_adapters([a, b], [wa, wb])`, one of them with a scale for each block."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_lora_weights(folder, weight_name="style.safetensors", adapter_name="style")
pipeline.load_lora_weights(folder, weight_name="other.safetensors", adapter_name="other")
scales = {"unet": {"down": 0.9, "mid": -0.5, "up": {"block_0": [0.4, 0.8]}}, "text_encoder": 0.5}
pipeline.set_adapters(["style", "other"], [0.7, scales])
image = pipeline("a red star", num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0]
np.save(output, np.asarray(image)[None])
