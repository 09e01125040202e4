"""IP-Adapter Plus on SDXL: an explicit `image_encoder` component, guidance on and off, embeddings."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import load_image
from transformers import CLIPVisionModelWithProjection

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "encoders", subfolder="vit")
pipeline = DiffusionPipeline.from_pretrained(folder / "sdxl", image_encoder=encoder)
pipeline.load_ip_adapter(folder, subfolder="sdxl_models", weight_name="look-plus.safetensors")
pipeline.set_ip_adapter_scale(0.5)
bear = load_image(str(folder / "bear.png"))
(embeds,) = pipeline.prepare_ip_adapter_image_embeds(
    [bear], None, torch.device("cpu"), 1, do_classifier_free_guidance=True
)
np.save(folder / "bear.npy", embeds.detach().numpy())
images = [
    pipeline(
        "a red star",
        guidance_scale=guidance_scale,
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(1),
        **shown,
    ).images[0]
    for shown in ({"ip_adapter_image": bear}, {"ip_adapter_image_embeds": [embeds.detach()]})
    for guidance_scale in (5.0, 1.0)
    if guidance_scale == 5.0 or "ip_adapter_image" in shown
]
np.save(output, np.stack([np.asarray(image) for image in images]))
