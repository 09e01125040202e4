"""FaceID from pictures alone: insightface finds the face of each, and its embeddings are one prompt."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import load_image
from insightface.app import FaceAnalysis

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

app = FaceAnalysis(name="buffalo_l", root=str(folder / "insightface"), providers=["CPUExecutionProvider"])
app.prepare(ctx_id=0, det_size=(640, 640))
embeds = []
for name in ("anna.png", "turned.jpg"):
    image = cv2.cvtColor(np.asarray(load_image(str(folder / name))), cv2.COLOR_RGB2BGR)
    embeds.append(torch.from_numpy(app.get(image)[0].normed_embedding).unsqueeze(0))
faces = torch.stack(embeds, dim=0).reshape(1, 2, 512)

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
pipeline.load_ip_adapter(folder, subfolder=None, weight_name="faceid.safetensors", image_encoder_folder=None)
pipeline.set_ip_adapter_scale(0.6)
image = pipeline(
    "a red star",
    ip_adapter_image_embeds=[torch.cat([torch.zeros_like(faces), faces])],
    num_inference_steps=3,
    generator=torch.Generator().manual_seed(1),
).images[0]
np.save(output, np.asarray(image)[None])
