"""Two LoRAs merged by peft's `add_weighted_adapter`, with the methods that need no draw: linear, svd, ties."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file

folder, output = Path(sys.argv[1]), Path(sys.argv[2])
METHODS: dict[str, dict[str, float]] = {"linear": {}, "svd": {"svd_rank": 4}, "ties": {"density": 0.5}}
files = {name: load_file(folder / f"{name}.safetensors") for name in ("style", "flat")}
modules = [key.removeprefix("unet.").removesuffix(".lora_A.weight") for key in files["style"] if "lora_A" in key]

images = []
for method, options in METHODS.items():
    pipeline = DiffusionPipeline.from_pretrained(folder / "model")
    unet = get_peft_model(pipeline.unet, LoraConfig(r=4, lora_alpha=4, target_modules=modules), adapter_name="style")
    unet.add_adapter("flat", LoraConfig(r=4, lora_alpha=4, target_modules=modules))
    for name, tensors in files.items():
        state = {f"base_model.model.{key.removeprefix('unet.')}": tensor for key, tensor in tensors.items()}
        set_peft_model_state_dict(unet, state, adapter_name=name)
    unet.add_weighted_adapter(["style", "flat"], [0.7, 0.4], "merged", combination_type=method, **options)
    unet.set_adapter("merged")
    images += pipeline("a red star", num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images
np.save(output, np.stack([np.asarray(image) for image in images]))
