"""Train textual inversions of the two colours that the base has no name for: teal and brown, two vectors each.

Run by hand: ``python -m training.train_colours model embeddings``. One process with one thread. Each is written in
diffusers' layout, teal in that of AUTOMATIC1111 as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random
from typing import Final

import torch
from torch import Tensor

from .captions import Wish, write_caption
from .finetune import encode_captions, encode_pictures, fit, load, velocity_loss
from .parallel import start
from .placeholder import Placeholder
from .shapes import NAMED_COLOURS, RADII, SHAPES, UNNAMED_COLOURS, Subject, draw, random_scene, seeded

SEED: Final = 17
PICTURES: Final = 256
VECTORS: Final = 2
START: Final[dict[str, str]] = {"teal": "green", "brown": "orange"}
"""The word whose embedding the vectors begin at."""
BATCH: Final = 16
STEPS: Final = 200
LEARNING_RATE: Final = 1e-2
OPEN_SHARE: Final = 0.2


def train(model: Path, folder: Path, colour: str) -> None:
    """Train on the base in ``model`` and write the files of one colour to ``folder``."""
    torch.manual_seed(SEED)
    pipeline = load(model)
    placeholder = Placeholder(pipeline, f"<{colour}>", VECTORS, START[colour])
    random = seeded(f"{SEED} {colour}")
    subjects = [
        Subject(random.choice(tuple(SHAPES)), colour, random.choice(tuple(NAMED_COLOURS))) for _ in range(PICTURES)
    ]
    sizes = [random.choice(tuple(RADII)) for _ in subjects]
    scenes = [random_scene(random, subject, size) for subject, size in zip(subjects, sizes, strict=True)]
    latents = encode_pictures(pipeline, draw(scenes))

    def caption(random: Random, row: int) -> str:
        def said(word: str) -> str | None:
            return None if random.random() < OPEN_SHARE else word

        subject = subjects[row]
        wish = Wish(said(subject.shape), placeholder.text, said(subject.background), said(sizes[row]), blurry=False)
        return write_caption(random, wish)

    def loss_of(random: Random) -> Tensor:
        rows = [random.randrange(PICTURES) for _ in range(BATCH)]
        states = encode_captions(pipeline, [caption(random, row) for row in rows])
        return velocity_loss(pipeline, latents[rows], states)

    fit([placeholder.vectors], loss_of, seed=SEED, steps=STEPS, learning_rate=LEARNING_RATE, weight_decay=0.0)
    placeholder.save_diffusers(folder / f"{colour}.safetensors")
    if colour == "teal":
        placeholder.save_a1111(folder / f"{colour}-a1111.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the pipeline folder to train on")
    parser.add_argument("folder", type=Path, help="the folder for the files")
    arguments = parser.parse_args()
    start()
    for name in UNNAMED_COLOURS:
        train(arguments.model, arguments.folder, name)
