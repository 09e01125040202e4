"""Train the image encoder: what a picture's shape is, and where and in what colours it is drawn.

Run by hand: ``python -m training.train_image_encoder ip_adapter/image_encoder``. One process with one thread.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from random import Random
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from .assemble import forget_paths
from .parallel import start
from .shapes import COLOURS, IMAGE_SIZE, OFFSETS, RADII, SHAPES, Rgb, Scene, draw, seeded

SEED: Final = 15
WIDTH: Final = 96
PROJECTED: Final = 128
BATCH: Final = 32
STEPS: Final = 3500
LEARNING_RATE: Final = 1e-3
WARM_UP: Final = 100
ANY_COLOUR_SHARE: Final = 0.3
OUTLINED_SHARE: Final = 0.1
LEAST_CONTRAST: Final = 0.3
"""How far, on a scale of 0 to 1, the two colours of a picture lie apart at least."""
FACTS: Final = 9
"""Numbers read off an embedding beside the shape: both colours, the radius and the centre."""
FACTS_WEIGHT: Final = 3.0


def build() -> CLIPVisionModelWithProjection:
    """Return the untrained encoder."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=PROJECTED,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=8,
    )
    return CLIPVisionModelWithProjection(config)


def build_processor() -> CLIPImageProcessorPil:
    """Return the preprocessor as ``load_ip_adapter`` makes it: the middle square, CLIP's mean and deviation."""
    return CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=IMAGE_SIZE)


def pixel_values(pictures: Tensor) -> Tensor:
    """Return pictures (n, 3, 64, 64) between 0 and 1 as the preprocessor hands them on."""
    mean, deviation = torch.tensor(OPENAI_CLIP_MEAN), torch.tensor(OPENAI_CLIP_STD)
    return (pictures - mean[:, None, None]) / deviation[:, None, None]


def random_colours(random: Random) -> tuple[Rgb, Rgb]:
    """Return two colours that can be told apart."""
    while True:
        pair = []
        for _ in range(2):
            if random.random() < ANY_COLOUR_SHARE:
                pair.append((random.randrange(256), random.randrange(256), random.randrange(256)))
            else:
                pair.append(random.choice(tuple(COLOURS.values())))
        if math.dist(*pair) > LEAST_CONTRAST * 255.0:
            return pair[0], pair[1]


def random_scenes(random: Random, count: int) -> list[Scene]:
    """Return scenes of any shape in any two colours, a few as outlines."""
    scenes = []
    for _ in range(count):
        size = random.choice(tuple(RADII))
        reach = OFFSETS[size]
        colour, background = random_colours(random)
        scenes.append(
            Scene(
                shape=random.choice(tuple(SHAPES)),
                colour=colour,
                background=background,
                radius=random.uniform(*RADII[size]) * IMAGE_SIZE / 2,
                centre=(random.uniform(-reach, reach), random.uniform(-reach, reach)),
                outline=random.uniform(3.0, 5.0) if random.random() < OUTLINED_SHARE else 0.0,
            )
        )
    return scenes


def facts(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """Return the number of each scene's shape, and its other facts (n, FACTS), each about -1 to 1."""
    names = list(SHAPES)
    shapes = torch.tensor([names.index(scene.shape) for scene in scenes])
    others = [
        [
            *(part / 127.5 - 1.0 for part in (*scene.colour, *scene.background)),
            scene.radius / 10.0 - 2.2,
            *(part / 3.0 for part in scene.centre),
        ]
        for scene in scenes
    ]
    return shapes, torch.tensor(others)


@torch.no_grad()
def accuracy(encoder: CLIPVisionModelWithProjection, head: nn.Linear) -> tuple[float, float]:
    """Return the share of new pictures whose shape is read rightly, and the mean error of a colour, 0 to 255."""
    scenes = random_scenes(seeded(f"{SEED} accuracy"), 512)
    shapes, others = facts(scenes)
    read = head(encoder(pixel_values(draw(scenes))).image_embeds)
    right = read[:, : len(SHAPES)].argmax(-1) == shapes
    errors = (read[:, len(SHAPES) :] - others)[:, :6].abs() * 127.5
    return right.float().mean().item(), errors.mean().item()


def train(folder: Path) -> None:
    """Train and save the encoder and its preprocessor."""
    start()
    torch.manual_seed(SEED)
    encoder, head = build(), nn.Linear(PROJECTED, len(SHAPES) + FACTS)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / STEPS))
    )
    random, began, total = seeded(SEED), time.process_time(), 0.0
    for step in range(1, STEPS + 1):
        scenes = random_scenes(random, BATCH)
        shapes, others = facts(scenes)
        read = head(encoder(pixel_values(draw(scenes))).image_embeds)
        loss = functional.cross_entropy(read[:, : len(SHAPES)], shapes)
        loss = loss + FACTS_WEIGHT * functional.mse_loss(read[:, len(SHAPES) :], others)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        total += loss.item()
        if step % 100 == 0:
            print(f"step {step} loss {total / 100:.4f} cpu seconds {time.process_time() - began:.0f}", flush=True)
            total = 0.0
        if step % 500 == 0:
            right, error = accuracy(encoder, head)
            print(f"step {step} shape {right:.1%} colour off by {error:.1f} of 255", flush=True)
    encoder.to(torch.float16).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    forget_paths(folder.parent)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder to write")
    train(parser.parse_args().folder)
