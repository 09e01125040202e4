"""Train an embedding for negative prompts: what it stands for is softness.

Run by hand: ``python -m training.train_negative model embeddings``. One process with one thread. It is written in the
layout of AUTOMATIC1111, as ``bad-shape.safetensors``; its token, ``BadShape``, has capitals, as ``EasyNegative`` has.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import torch
from torch import Tensor

from .finetune import encode_captions, encode_pictures, fit, load, velocity_loss
from .parallel import start
from .placeholder import Placeholder
from .shapes import RADII, SEEN_SUBJECTS, draw, random_scene, seeded

SEED: Final = 18
TOKEN: Final = "BadShape"  # noqa: S105 - a word of prompts, not a secret
PICTURES: Final = 1024
BLUR: Final = (0.8, 1.8)
"""The deviation of the blur, in pixels: less than in what the base calls blurry."""
VECTORS: Final = 4
START: Final = "bad"
BATCH: Final = 16
STEPS: Final = 240
LEARNING_RATE: Final = 1e-2


def train(model: Path, folder: Path) -> None:
    """Train on the base in ``model`` and write the file to ``folder``."""
    start()
    torch.manual_seed(SEED)
    pipeline = load(model)
    placeholder = Placeholder(pipeline, TOKEN, VECTORS, START)
    random = seeded(SEED)
    scenes = [
        replace(
            random_scene(random, random.choice(SEEN_SUBJECTS), random.choice(tuple(RADII))),
            blur=random.uniform(*BLUR),
        )
        for _ in range(PICTURES)
    ]
    latents = encode_pictures(pipeline, draw(scenes))

    def loss_of(random: Random) -> Tensor:
        rows = [random.randrange(PICTURES) for _ in range(BATCH)]
        states = encode_captions(pipeline, [placeholder.text] * BATCH)
        return velocity_loss(pipeline, latents[rows], states)

    fit([placeholder.vectors], loss_of, seed=SEED, steps=STEPS, learning_rate=LEARNING_RATE, weight_decay=0.0)
    placeholder.save_a1111(folder / "bad-shape.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the pipeline folder to train on")
    parser.add_argument("folder", type=Path, help="the folder for the file")
    arguments = parser.parse_args()
    train(arguments.model, arguments.folder)
