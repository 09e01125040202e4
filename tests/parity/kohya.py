"""A Kohya file whose modules have several alphas, text encoder included: diffusers is right when each is baked in."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

tensors = load_file(folder / "kohya.safetensors")
for key in [key for key in tensors if key.endswith(".alpha")]:
    stem = key.removesuffix(".alpha")
    rank = len(tensors[f"{stem}.lora_down.weight"])
    tensors[f"{stem}.lora_up.weight"] *= tensors.pop(key) / rank

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_lora_weights(tensors, adapter_name="style")
pipeline.set_adapters(["style"], [0.6])
image = pipeline("a red star", num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0]
np.save(output, np.asarray(image)[None])
