"""The IP-Adapter of Stable Diffusion 3, as diffusers' documentation loads it, with and without guidance."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from diffusers.utils import load_image
from transformers import SiglipImageProcessor, SiglipVisionModel

folder, output = Path(sys.argv[1]), Path(sys.argv[2])
bear, other = (load_image(str(folder / name)) for name in ("bear.png", "other.png"))
images: list[object] = []


def draw(prompt: str, **arguments: object) -> None:
    """One picture of the recipe's size and seed."""
    generator = torch.Generator().manual_seed(1)
    image = pipeline(prompt, num_inference_steps=3, generator=generator, **arguments).images[0]
    images.append(np.asarray(image))


pipeline = StableDiffusion3Pipeline.from_pretrained(
    folder / "sd35",
    feature_extractor=SiglipImageProcessor.from_pretrained(folder / "siglip"),
    image_encoder=SiglipVisionModel.from_pretrained(folder / "siglip"),
)
pipeline.load_ip_adapter(folder, weight_name="instantx.safetensors")
for scale in (0.6, 1.0):
    pipeline.set_ip_adapter_scale(scale)
    draw("a red star", ip_adapter_image=bear, guidance_scale=5.0)
    draw("a circle", ip_adapter_image=other, guidance_scale=5.0)
pipeline.set_ip_adapter_scale(0.6)
draw("a red star", ip_adapter_image=bear, guidance_scale=1.0)
# Without guidance, several images act together.
draw("a red star", ip_adapter_image=[bear, other], guidance_scale=1.0)
embeds = pipeline.prepare_ip_adapter_image_embeds(ip_adapter_image=bear, do_classifier_free_guidance=True)
np.save(folder / "bear-pair.npy", embeds.detach().numpy())

pipeline = StableDiffusion3Pipeline.from_pretrained(
    folder / "sd35",
    dtype=torch.bfloat16,
    feature_extractor=SiglipImageProcessor.from_pretrained(folder / "siglip"),
    image_encoder=SiglipVisionModel.from_pretrained(folder / "siglip", dtype=torch.bfloat16),
)
pipeline.load_ip_adapter(folder, weight_name="instantx.safetensors")
pipeline.set_ip_adapter_scale(0.6)
draw("a red star", ip_adapter_image=bear, guidance_scale=5.0)
np.save(output, np.array(images))
