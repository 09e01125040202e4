"""A scale for each block of SDXL's UNet and for both text encoders, as the loading guide has it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_lora_weights(folder, weight_name="style.safetensors", adapter_name="my_adapter")
scales = {
    "text_encoder": 0.5,
    "text_encoder_2": 0.4,
    "unet": {"down": 0.9, "up": {"block_0": [0.4, 0.8]}},
}
pipeline.set_adapters("my_adapter", scales)
image = pipeline("a red star", num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0]
np.save(output, np.asarray(image)[None])
