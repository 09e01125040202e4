"""FaceID beside a LoRA: `load_ip_adapter` switches other LoRAs off, so both are switched on by name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_ip_adapter(folder, subfolder="faces", weight_name="ip-adapter-faceid.bin", image_encoder_folder=None)
pipeline.load_lora_weights(folder, weight_name="style.safetensors", adapter_name="style")
pipeline.set_adapters(["faceid_0", "style"], [1.0, 0.7])
pipeline.set_ip_adapter_scale(0.6)
face = torch.from_numpy(np.load(folder / "face.npy")).reshape(1, 1, 512)
embeds = torch.cat([torch.zeros_like(face), face])
image = pipeline(
    "a red star",
    ip_adapter_image_embeds=[embeds],
    num_inference_steps=3,
    generator=torch.Generator().manual_seed(1),
).images[0]
np.save(output, np.asarray(image)[None])
