"""FaceID Plus, version 1 and 2: an embedding of the face, and the image encoder's hidden states of its picture."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import load_image
from transformers import CLIPVisionModelWithProjection

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "models", subfolder="image_encoder")
pipeline = DiffusionPipeline.from_pretrained(folder / "model", image_encoder=encoder)
pipeline.load_ip_adapter(folder, subfolder="faces", weight_name="ip-adapter-faceid-plusv2.safetensors")
pipeline.set_ip_adapter_scale(0.6)
face = torch.from_numpy(np.load(folder / "face.npy")).reshape(1, 1, 512)
embeds = torch.cat([torch.zeros_like(face), face])
picture = load_image(str(folder / "bear.png"))
(clip,) = pipeline.prepare_ip_adapter_image_embeds(
    [picture], None, torch.device("cpu"), 1, do_classifier_free_guidance=True
)
projection = pipeline.unet.encoder_hid_proj.image_projection_layers[0]
projection.clip_embeds = clip
images = []
for shortcut in (False, True):
    projection.shortcut = shortcut
    images += pipeline(
        "a red star",
        ip_adapter_image_embeds=[embeds],
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(1),
    ).images
np.save(output, np.stack([np.asarray(image) for image in images]))
