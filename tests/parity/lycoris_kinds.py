"""LyCORIS by its formulas: LoHa, LoKr, DoRA, whole differences and norms, added to the weights in float64.

diffusers 0.42.1 refuses such a file, or drops `dora_scale`; this is what its weights come to.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

folder, output = Path(sys.argv[1]), Path(sys.argv[2])
SCALE = 0.6

pipeline = DiffusionPipeline.from_pretrained(folder / "model")
tensors = {key: tensor.double() for key, tensor in load_file(folder / "lycoris.safetensors").items()}
for name, module in pipeline.unet.named_modules():
    stem = f"lora_unet_{name.replace('.', '_')}."
    r = {key.removeprefix(stem): tensor for key, tensor in tensors.items() if key.startswith(stem)}
    if not r:
        continue
    weight = module.weight.data.double()
    if "hada_w1_a" in r:
        rank = len(r["hada_w1_b"])
        delta = (r["hada_w1_a"] @ r["hada_w1_b"]) * (r["hada_w2_a"] @ r["hada_w2_b"]) * r["alpha"] / rank
    elif "lokr_w1" in r:
        rank = len(r["lokr_w2_b"])
        delta = torch.kron(r["lokr_w1"], r["lokr_w2_a"] @ r["lokr_w2_b"]) * r["alpha"] / rank
    elif "dora_scale" in r:
        whole = weight + r["lora_up.weight"] @ r["lora_down.weight"] * r["alpha"] / len(r["lora_down.weight"])
        delta = r["dora_scale"] * whole / whole.norm(dim=1, keepdim=True) - weight
    else:
        delta = r["diff"] if "diff" in r else r["w_norm"]
    module.weight.data = (weight + SCALE * delta).float()
    for role in {"diff_b", "b_norm"} & r.keys():
        module.bias.data = (module.bias.data.double() + SCALE * r[role]).float()
image = pipeline("a red star", num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0]
np.save(output, np.asarray(image)[None])
