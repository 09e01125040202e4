"""Two LoRAs merged into one by concatenation, as peft's `cat` does it: their ranks add up, the weights go into A."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

first, second = load_file(folder / "style.safetensors"), load_file(folder / "other.safetensors")
merged = {
    key: torch.cat([first[key] * 0.7, second[key] * 0.3])
    if "lora_A" in key
    else torch.cat([first[key], second[key]], 1)
    for key in first
}

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_lora_weights(merged, adapter_name="merged")
pipeline.set_adapters(["merged"], [0.8])
image = pipeline("a red star", num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0]
np.save(output, np.asarray(image)[None])
