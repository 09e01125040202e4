"""LoRA and IP-Adapter on one base."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import load_image

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_ip_adapter(folder, subfolder="models", weight_name="look-plus.safetensors")
pipeline.set_ip_adapter_scale(0.6)
pipeline.load_lora_weights(folder, weight_name="style.safetensors", adapter_name="style")
pipeline.set_adapters(["style"], [0.8])
image = pipeline(
    "a red star",
    ip_adapter_image=load_image(str(folder / "bear.png")),
    num_inference_steps=3,
    generator=torch.Generator().manual_seed(1),
).images[0]
np.save(output, np.asarray(image)[None])
