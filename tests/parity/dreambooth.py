"""DreamBooth: a whole fine-tuned model as the base, from its folder and from one file in the original layout."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipelines = [
    DiffusionPipeline.from_pretrained(folder / "dreambooth"),
    StableDiffusionPipeline.from_single_file(folder / "dreambooth.safetensors", config=str(folder / "config")),
    StableDiffusionPipeline.from_single_file(folder / "dreambooth.ckpt", config=str(folder / "config")),
]
images = [
    pipeline("a red sks bear", num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0]
    for pipeline in pipelines
]
np.save(output, np.stack([np.asarray(image) for image in images]))
