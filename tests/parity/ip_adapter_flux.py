"""IP-Adapters of Flux: scale for all blocks and per block, true guidance, several images and adapters, embeddings.

The last is as diffusers' documentation has it, in bfloat16 with the encoder in float16, and with a LoRA beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline
from diffusers.utils import load_image

folder, output = Path(sys.argv[1]), Path(sys.argv[2])
bear, other = (load_image(str(folder / name)) for name in ("bear.png", "other.png"))
images: list[object] = []


def draw(prompt: str, **arguments: object) -> None:
    """One picture of the recipe's size and seed."""
    generator = torch.Generator().manual_seed(1)
    image = pipeline(prompt, height=32, width=16, num_inference_steps=3, generator=generator, **arguments).images[0]
    images.append(np.asarray(image))


pipeline = FluxPipeline.from_pretrained(folder / "model")
pipeline.load_ip_adapter(
    folder,
    weight_name="xlabs.safetensors",
    image_encoder_pretrained_model_name_or_path=folder / "clip",
    image_encoder_dtype=torch.float32,
)
for scale in (0.7, [0.3, 0.9]):
    pipeline.set_ip_adapter_scale(scale)
    draw("a red star", ip_adapter_image=bear)
    draw("a circle", ip_adapter_image=other, negative_prompt="blurry", true_cfg_scale=4.0)
np.save(folder / "bear.npy", torch.cat(pipeline.prepare_ip_adapter_image_embeds(bear, None, "cpu", 1)).detach().numpy())
pipeline.unload_ip_adapter()

pipeline = FluxPipeline.from_pretrained(folder / "model")
pipeline.load_ip_adapter(
    folder,
    weight_name=["xlabs.safetensors", "translated.safetensors"],
    image_encoder_pretrained_model_name_or_path=folder / "clip",
    image_encoder_dtype=torch.float32,
)
pipeline.set_ip_adapter_scale([0.6, [1.0, 0.0]])
draw("a red star", ip_adapter_image=[[bear, other], other], negative_prompt="blurry", true_cfg_scale=3.0)

pipeline = FluxPipeline.from_pretrained(folder / "model", dtype=torch.bfloat16)
pipeline.load_ip_adapter(
    folder,
    weight_name="xlabs.safetensors",
    image_encoder_pretrained_model_name_or_path=folder / "clip",
)
pipeline.set_ip_adapter_scale(1.0)
pipeline.load_lora_weights(folder, weight_name="style.safetensors")
draw("a red star", ip_adapter_image=bear, negative_prompt="", true_cfg_scale=4.0)
np.save(output, np.array(images))
