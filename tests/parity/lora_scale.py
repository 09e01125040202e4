"""The scale of a LoRA as `cross_attention_kwargs` says it, each on a pipeline of its own; 0 is the base untouched.

On one pipeline, a call's scale sticks: diffusers 0.42.1 loads the next LoRA of a text encoder at it, and a call at 0
sets what `set_adapters` set to 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

images = []
for scale in (0.0, 0.5, 1.0, 1.7, -0.8):
    pipeline = DiffusionPipeline.from_pretrained(folder / "model")
    if scale:
        pipeline.load_lora_weights(folder, weight_name="style.safetensors")
    image = pipeline(
        "a red star",
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(1),
        cross_attention_kwargs={"scale": scale} if scale else None,
    ).images[0]
    images.append(np.asarray(image))
np.save(output, np.stack(images))
