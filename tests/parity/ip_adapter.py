"""IP-Adapter: `load_ip_adapter`, `ip_adapter_image`, another image for another prompt, and `set_ip_adapter_scale`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import load_image

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_ip_adapter(folder, subfolder="models", weight_name="look.safetensors")
images = []
for scale in (0.6, {"down": {"block_1": [0.5]}, "up": {"block_0": [0.0, 1.0]}}):
    pipeline.set_ip_adapter_scale(scale)
    for prompt, name in (("a red star", "bear.png"), ("a circle", "other.png")):
        image = pipeline(
            prompt,
            ip_adapter_image=load_image(str(folder / name)),
            num_inference_steps=3,
            generator=torch.Generator().manual_seed(1),
        ).images[0]
        images.append(np.asarray(image))
np.save(output, np.stack(images))
