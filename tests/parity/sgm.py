"""A Kohya SDXL file with the original code's names (TheLastBen's, most of Civitai's), both text encoders included."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_lora_weights(folder, weight_name="sgm.safetensors", adapter_name="style")
pipeline.set_adapters(["style"], [0.6])
image = pipeline("a red star", num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0]
np.save(output, np.asarray(image)[None])
