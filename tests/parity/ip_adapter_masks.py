"""Masks: each image of an IP-Adapter acts in a part of the picture; a second IP-Adapter acts everywhere."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.image_processor import IPAdapterMaskProcessor
from diffusers.utils import load_image

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_ip_adapter(folder, subfolder="models", weight_name=["look-plus.safetensors", "look.safetensors"])
pipeline.set_ip_adapter_scale([[0.8, 0.8], 0.4])
bear, other = (load_image(str(folder / name)) for name in ("bear.png", "other.png"))
halves = [load_image(str(folder / name)) for name in ("left.png", "right.png")]
masks = IPAdapterMaskProcessor().preprocess(halves, height=16, width=16)
masks = masks.reshape(1, masks.shape[0], masks.shape[2], masks.shape[3])
image = pipeline(
    "a red star",
    ip_adapter_image=[[bear, other], bear],
    cross_attention_kwargs={"ip_adapter_masks": [masks, None]},
    num_inference_steps=3,
    generator=torch.Generator().manual_seed(1),
).images[0]
np.save(output, np.asarray(image)[None])
