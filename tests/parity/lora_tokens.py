"""A LoRA file that brings learned tokens along, at scale 0.6, as Kohya bundles them.

diffusers 0.42.1 refuses such a file. Its parts are the LoRA, and an embedding for each token.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
tensors = load_file(folder / "bundle.safetensors")
tokens = {name: tensors.pop(f"bundle_emb.{name}.emb_params") for name in ("<s1>", "<s2>")}
pipeline.load_lora_weights(tensors, adapter_name="style")
pipeline.set_adapters(["style"], [0.6])
for name, vectors in tokens.items():
    pipeline.load_textual_inversion({name: vectors})
image = pipeline("a bear, <s1><s2>", num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0]
np.save(output, np.asarray(image)[None])
