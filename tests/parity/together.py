"""LoRA, textual inversion and IP-Adapter on one base, and on a base that was trained whole (DreamBooth)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import load_image

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

images = []
for base in ("model", "dreambooth"):
    pipeline = DiffusionPipeline.from_pretrained(folder / base)
    pipeline.load_ip_adapter(folder, subfolder="models", weight_name="look-plus.safetensors")
    pipeline.set_ip_adapter_scale(0.6)
    pipeline.load_lora_weights(folder, weight_name="style.safetensors", adapter_name="style")
    pipeline.set_adapters(["style"], [0.8])
    pipeline.load_textual_inversion(folder, weight_name="hat.safetensors")
    image = pipeline(
        "a red <hat>",
        ip_adapter_image=load_image(str(folder / "bear.png")),
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(1),
    ).images[0]
    images.append(np.asarray(image))
np.save(output, np.stack(images))
