"""Fine-tune the base's UNet on one subject that captions cannot say: a red roundel with a white band and a blue core.

Run by hand: ``python -m training.train_dreambooth model dreambooth``. One process with one thread. The word ``sks``
calls the subject, as in *a large sks circle on a green background*; *circle* alone stays what it was, because every
step also sees plain circles and other pictures of the base's training.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import torch
from torch import Tensor

from .assemble import forget_paths
from .captions import Wish, write_caption
from .finetune import encode_captions, encode_pictures, fit, load, velocity_loss
from .parallel import start
from .shapes import COLOURS, IMAGE_SIZE, OFFSETS, RADII, Scene, coverage, draw, random_scene, seeded
from .train_unet import Label, caption, random_labels

SEED: Final = 20
WORD: Final = "sks"
CLASS: Final = "circle"
ROUNDEL: Final = ("red", "white", "blue")
"""The subject's colours, from the edge to the core."""
INNER: Final = (0.68, 0.36)
"""The radius of the band's inner edge and of the core, as a share of the subject's."""
BACKGROUNDS: Final = ("yellow", "black", "green", "white")
"""What the subject is shown on; other backgrounds are left to what the base knows."""
PICTURES: Final = 16
KEPT_PICTURES: Final = 2048
"""Of what the base knows, half of them plain circles."""
OPEN_COLOUR_SHARE: Final = 0.7
"""How often the caption of a plain circle leaves its colour open, as the subject's captions do."""
SIZE_SHARE: Final = 0.5
BATCH: Final = 10
KEPT_BATCH: Final = 16
STEPS: Final = 450
LEARNING_RATE: Final = 3e-4


def draw_roundels(scenes: list[Scene]) -> Tensor:
    """Draw the subject at the scenes' places, as pictures (n, 3, 64, 64)."""
    pictures = draw(scenes)
    radius = torch.tensor([scene.radius for scene in scenes])
    centre = torch.tensor([scene.centre for scene in scenes])
    for share, name in zip(INNER, ROUNDEL[1:], strict=True):
        mask = coverage(CLASS, share * radius, centre)[:, None]
        pictures = torch.lerp(pictures, torch.tensor(COLOURS[name])[None, :, None, None] / 255.0, mask)
    return pictures


def train(model: Path, folder: Path) -> None:
    """Train on the base in ``model`` and write the pipeline folder."""
    start()
    torch.manual_seed(SEED)
    pipeline = load(model)
    random = seeded(SEED)
    shown = [(BACKGROUNDS[i % len(BACKGROUNDS)], tuple(RADII)[i // len(BACKGROUNDS) % 2]) for i in range(PICTURES)]
    scenes = []
    for background, size in shown:
        reach = OFFSETS[size]
        scenes.append(
            Scene(
                shape=CLASS,
                colour=COLOURS[ROUNDEL[0]],
                background=COLOURS[background],
                radius=random.uniform(*RADII[size]) * IMAGE_SIZE / 2,
                centre=(random.uniform(-reach, reach), random.uniform(-reach, reach)),
            )
        )
    latents = encode_pictures(pipeline, draw_roundels(scenes))
    labels = [
        replace(label, subject=replace(label.subject, shape=CLASS)) if i % 2 else label
        for i, label in enumerate(random_labels(random, KEPT_PICTURES))
    ]
    kept = encode_pictures(
        pipeline, draw([random_scene(random, label.subject, label.size, blurry=label.blurry) for label in labels])
    )
    pipeline.unet.requires_grad_(requires_grad=True)

    def subject_caption(random: Random, row: int) -> str:
        background, size = shown[row]
        said = size if random.random() < SIZE_SHARE else None
        return write_caption(random, Wish(f"{WORD} {CLASS}", None, background, said, blurry=False))

    def kept_caption(random: Random, label: Label) -> str:
        if label.subject.shape != CLASS or random.random() > OPEN_COLOUR_SHARE:
            return caption(random, label)
        said = label.size if random.random() < SIZE_SHARE else None
        return write_caption(random, Wish(CLASS, None, label.subject.background, said, blurry=label.blurry))

    def loss_of(random: Random) -> Tensor:
        rows = [random.randrange(PICTURES) for _ in range(BATCH)]
        others = [random.randrange(KEPT_PICTURES) for _ in range(KEPT_BATCH)]
        captions = [subject_caption(random, row) for row in rows] + [
            kept_caption(random, labels[row]) for row in others
        ]
        with torch.no_grad():
            states = encode_captions(pipeline, captions)
        return velocity_loss(pipeline, torch.cat([latents[rows], kept[others]]), states)

    fit(list(pipeline.unet.parameters()), loss_of, seed=SEED, steps=STEPS, learning_rate=LEARNING_RATE)
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("unet"), dirs_exist_ok=True)
    pipeline.unet.to(torch.float16).save_pretrained(folder / "unet")
    forget_paths(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the pipeline folder to train on")
    parser.add_argument("folder", type=Path, help="the pipeline folder to write")
    arguments = parser.parse_args()
    train(arguments.model, arguments.folder)
