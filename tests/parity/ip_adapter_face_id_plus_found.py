"""FaceID Plus, version 1 and 2, from a picture alone: insightface finds the face, cuts it out and turns it upright."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import load_image
from insightface.app import FaceAnalysis
from insightface.utils import face_align
from transformers import CLIPVisionModelWithProjection

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

app = FaceAnalysis(name="buffalo_l", root=str(folder / "insightface"), providers=["CPUExecutionProvider"])
app.prepare(ctx_id=0, det_size=(640, 640))
image = cv2.cvtColor(np.asarray(load_image(str(folder / "turned.jpg"))), cv2.COLOR_RGB2BGR)
found = app.get(image)[0]
face = torch.from_numpy(found.normed_embedding).reshape(1, 1, 512)
cut = face_align.norm_crop(image, landmark=found.kps, image_size=224)

encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
pipeline = DiffusionPipeline.from_pretrained(folder / "model", image_encoder=encoder)
pipeline.load_ip_adapter(folder, subfolder=None, weight_name="faceid-plusv2.safetensors", image_encoder_folder=None)
pipeline.set_ip_adapter_scale(0.6)
(clip,) = pipeline.prepare_ip_adapter_image_embeds([[cut]], None, torch.device("cpu"), 1, True)  # noqa: FBT003 - as the guide
projection = pipeline.unet.encoder_hid_proj.image_projection_layers[0]
projection.clip_embeds = clip
images = []
for shortcut in (False, True):
    projection.shortcut = shortcut
    images += pipeline(
        "a red star",
        ip_adapter_image_embeds=[torch.cat([torch.zeros_like(face), face])],
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(1),
    ).images
np.save(output, np.stack([np.asarray(image) for image in images]))
