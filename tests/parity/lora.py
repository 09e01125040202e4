"""LoRA at pipeline level: `load_lora_weights` into the UNet and the text encoder, scaled by `set_adapters`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_lora_weights(folder, weight_name="style.safetensors", adapter_name="style")
pipeline.set_adapters(["style"], [0.6])
images = [
    pipeline("a red star", num_inference_steps=3, generator=torch.Generator().manual_seed(seed)).images[0]
    for seed in (1, 2)
]
np.save(output, np.stack([np.asarray(image) for image in images]))
