"""SDXL: one file with vectors for both text encoders, each loaded into its own.

`load_textual_inversion` takes no such file as it is; the two calls below are diffusers' own advice. Where the second
encoder's configuration says `eos_token_id: 2`, as SDXL's does, transformers takes the prompt's pooled embedding at the
largest token id, which is a learned token once there is one; the id of the end mark makes it right.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

folder, output = Path(sys.argv[1]), Path(sys.argv[2])

pipeline = DiffusionPipeline.from_pretrained(folder / "sdxl")
pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id
vectors = load_file(folder / "both.safetensors")
for key, encoder, tokenizer in (
    ("clip_l", pipeline.text_encoder, pipeline.tokenizer),
    ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2),
):
    pipeline.load_textual_inversion({"<hat>": vectors[key]}, text_encoder=encoder, tokenizer=tokenizer)
image = pipeline(
    "a bear with <hat>",
    prompt_2="<hat> on a circle",
    negative_prompt="blurry <hat>",
    num_inference_steps=3,
    generator=torch.Generator().manual_seed(1),
).images[0]
np.save(output, np.asarray(image)[None])
