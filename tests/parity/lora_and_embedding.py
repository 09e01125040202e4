"""A LoRA in UNet and text encoder, a textual inversion in the prompt, and a negative embedding: all on one base."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_lora_weights(folder, weight_name="style.safetensors", adapter_name="style")
pipeline.set_adapters(["style"], [{"unet": 0.8, "text_encoder": 0.5}])
pipeline.load_textual_inversion(folder, weight_name="cat.bin", token="<cat-toy>")  # noqa: S106 - no password
pipeline.load_textual_inversion(folder, weight_name="EasyNegative.safetensors", token="easynegative")  # noqa: S106
image = pipeline(
    "a red <cat-toy>",
    negative_prompt="easynegative, blurry",
    num_inference_steps=3,
    generator=torch.Generator().manual_seed(1),
).images[0]
np.save(output, np.asarray(image)[None])
