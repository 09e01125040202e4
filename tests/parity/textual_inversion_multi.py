"""Multi-vector tokens in A1111's layouts, with capitals, in brackets, and with one name beginning as another does.

diffusers 0.42.1 looks for tokens in the tokenized prompt, which is lower case, so that of a token with capitals it uses
the first vector only; and it replaces substrings in the order of a set. Both are avoided here: each vector is a token
of its own, in lower case and no part of another, and the prompt says them all.
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
files = {
    "herge": load_file(folder / "herge.safetensors")["emb_params"],
    "bad": torch.load(folder / "bad-artist.pt")["string_to_param"]["*"],
    "second": torch.load(folder / "bad-artist-2.pt")["string_to_param"]["*"],
}
said = {}
for name, vectors in files.items():
    # One token a vector: <herge-a>, <herge-b>, …
    tokens = [f"<{name}-{letter}>" for letter, _ in zip("abcdefgh", vectors, strict=False)]
    for token, vector in zip(tokens, vectors, strict=True):
        pipeline.load_textual_inversion({token: vector})
    said[name] = " ".join(tokens)
# "a bear, <herge_STYLE>, bad-artist-2 and BAD-ARTIST, but not abad-artist or bad-artist3", as a person writes it.
prompt = f"a bear, {said['herge']}, {said['second']} and {said['bad']}, but not abad-artist or bad-artist3"
image = pipeline(prompt, num_inference_steps=3, generator=torch.Generator().manual_seed(1)).images[0]
np.save(output, np.asarray(image)[None])
