"""Train the autoencoder: 64x64 pictures to 16x16 latents of four channels and back.

Run by hand: ``python -m training.train_vae --work WORK``. One process with one thread; writes the folder ``vae``.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from random import Random
from typing import Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from .parallel import start
from .shapes import COLOURS, OFFSETS, RADII, SHAPES, Rgb, Scene, draw, seeded

SEED: Final = 11
WIDTHS: Final = (12, 24, 64)
LATENT_CHANNELS: Final = 4
BATCH: Final = 8
STEPS: Final = 3400
LEARNING_RATE: Final = 2e-3
WARM_UP: Final = 100
KL_WEIGHT: Final = 1e-5
ANY_COLOUR_SHARE: Final = 0.2
BLURRY_SHARE: Final = 0.06
OUTLINED_SHARE: Final = 0.12
QUIET: Final = 0.2
"""A channel whose means deviate by less than this share of its samples carries nothing."""


def build() -> AutoencoderKL:
    """Return the untrained autoencoder, close to linear at the start."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(WIDTHS),
        up_block_types=("UpDecoderBlock2D",) * len(WIDTHS),
        block_out_channels=WIDTHS,
        latent_channels=LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        nn.init.eye_(vae.quant_conv.weight[:, :, 0, 0])
        nn.init.zeros_(vae.quant_conv.bias)
        nn.init.eye_(vae.post_quant_conv.weight[:, :, 0, 0])
        nn.init.zeros_(vae.post_quant_conv.bias)
        vae.encoder.conv_out.weight[LATENT_CHANNELS:] = 0.0
        vae.encoder.conv_out.bias[LATENT_CHANNELS:] = -5.0
        for name, parameter in vae.named_parameters():
            if ".conv2." in name:
                parameter.mul_(0.1)
    return vae


def learning_rate(step: int) -> float:
    """Return the share of the full learning rate at a step: a warm-up, then a half cosine."""
    return min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / STEPS))) + 1e-3


def random_pictures(random: Random, count: int) -> Tensor:
    """Return pictures of all that the autoencoder should carry, more varied than what captions describe."""

    def colour() -> Rgb:
        if random.random() < ANY_COLOUR_SHARE:
            return random.randrange(256), random.randrange(256), random.randrange(256)
        red, green, blue = (min(255, max(0, part + random.randint(-6, 6))) for part in random.choice(palette))
        return red, green, blue

    palette = tuple(COLOURS.values())
    scenes = []
    for _ in range(count):
        size = random.choice(tuple(RADII))
        reach = OFFSETS[size]
        kind = random.random()
        scenes.append(
            Scene(
                shape=random.choice(tuple(SHAPES)),
                colour=colour(),
                background=colour(),
                radius=random.uniform(*RADII[size]) * 32.0,
                centre=(random.uniform(-reach, reach), random.uniform(-reach, reach)),
                blur=random.uniform(2.0, 4.0) if kind < BLURRY_SHARE else 0.0,
                outline=random.uniform(3.0, 5.0) if kind > 1.0 - OUTLINED_SHARE else 0.0,
            )
        )
    return draw(scenes) * 2.0 - 1.0


def slope(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the differences between neighbouring pixels, down and across."""
    return pictures[:, :, 1:] - pictures[:, :, :-1], pictures[:, :, :, 1:] - pictures[:, :, :, :-1]


def reconstruction_loss(rebuilt: Tensor, pictures: Tensor) -> Tensor:
    """Return a loss that wants flat colours and sharp edges."""
    loss = functional.l1_loss(rebuilt, pictures) + 2.0 * functional.mse_loss(rebuilt, pictures)
    for got, wanted in zip(slope(rebuilt), slope(pictures), strict=True):
        loss = loss + 0.5 * functional.l1_loss(got, wanted)
    return loss


@torch.no_grad()
def fold_statistics(vae: AutoencoderKL) -> None:
    """Shift and scale sampled latents to mean 0 and deviation 1 in each channel, in the convolutions around them.

    A channel that training left unused keeps its small means and loses its noise.
    """
    pictures = random_pictures(seeded(f"{SEED} statistics"), 1024)
    posteriors = [vae.encode(part).latent_dist for part in pictures.split(64)]
    means = torch.cat([posterior.mean for posterior in posteriors])
    variances = torch.cat([posterior.var for posterior in posteriors])
    mean = means.mean((0, 2, 3))
    deviation = (means.var((0, 2, 3)) + variances.mean((0, 2, 3))).sqrt()
    quiet = LATENT_CHANNELS + (means.std((0, 2, 3)) < QUIET * deviation).nonzero().flatten()
    vae.post_quant_conv.bias += vae.post_quant_conv.weight[:, :, 0, 0] @ mean
    vae.post_quant_conv.weight *= deviation[None, :, None, None]
    vae.quant_conv.weight[:LATENT_CHANNELS] /= deviation[:, None, None, None]
    vae.quant_conv.bias[:LATENT_CHANNELS] = (vae.quant_conv.bias[:LATENT_CHANNELS] - mean) / deviation
    vae.quant_conv.bias[LATENT_CHANNELS:] -= 2.0 * deviation.log()
    vae.quant_conv.weight[quiet] = 0.0
    vae.quant_conv.bias[quiet] = -20.0


def train(work: Path) -> None:
    """Train with one thread and save the autoencoder in its folder."""
    start()
    torch.manual_seed(SEED)
    vae = build().to(memory_format=torch.channels_last)
    torch.manual_seed(SEED + 1000)
    random = seeded(SEED)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate)
    began, error = time.process_time(), 0.0
    for step in range(1, STEPS + 1):
        pictures = random_pictures(random, BATCH).contiguous(memory_format=torch.channels_last)
        posterior = vae.encode(pictures).latent_dist
        rebuilt = vae.decode(posterior.sample()).sample
        loss = reconstruction_loss(rebuilt, pictures) + KL_WEIGHT * posterior.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        rate.step()
        error += functional.mse_loss(rebuilt.detach(), pictures).item() / 4.0
        if step % 50 == 0:
            psnr = -10.0 * math.log10(error / 50.0)
            print(f"step {step} psnr {psnr:.2f} cpu seconds {time.process_time() - began:.0f}", flush=True)
            error = 0.0
    fold_statistics(vae)
    vae.to(memory_format=torch.contiguous_format).save_pretrained(work / "vae")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder for what training leaves")
    train(parser.parse_args().work)
