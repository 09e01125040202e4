"""Unloading: a LoRA, a textual inversion and an IP-Adapter leave; the base then draws what it drew before they came."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import load_image

folder, output = Path(sys.argv[1]), Path(sys.argv[2])


def draw(**arguments: object) -> np.ndarray:
    """One picture of the recipe's seed."""
    generator = torch.Generator().manual_seed(1)
    return np.asarray(pipeline("a red hat", num_inference_steps=3, generator=generator, **arguments).images[0])


pipeline = DiffusionPipeline.from_pretrained(folder / "model")
untouched = draw()
pipeline.load_lora_weights(folder, weight_name="style.safetensors", adapter_name="style")
# "hat" is a word of the prompt, so the vectors act on it while they are there.
pipeline.load_textual_inversion(folder, weight_name="hat.safetensors", token="hat")  # noqa: S106 - no password
styled = draw()
pipeline.unload_lora_weights()
pipeline.unload_textual_inversion()
pipeline.load_ip_adapter(folder, subfolder="models", weight_name="look.safetensors")
shown = draw(ip_adapter_image=load_image(str(folder / "bear.png")))
pipeline.unload_ip_adapter()
bare = draw()
assert np.array_equal(bare, untouched)
np.save(output, np.stack([styled, shown, bare]))
