"""What the programs that train adapters on the demo model share: encoding, the loss, and the loop of steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn import functional

from .shapes import seeded
from .tokenizer import MAX_LENGTH
from .train_unet import random_timesteps

REPORT_EVERY: Final = 20


def load(model: Path) -> StableDiffusionPipeline:
    """Return the pipeline of a folder, in single precision and with nothing trainable."""
    pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    for network in (pipeline.unet, pipeline.text_encoder, pipeline.vae):
        network.requires_grad_(requires_grad=False)
    return pipeline


@torch.no_grad()
def encode_pictures(pipeline: StableDiffusionPipeline, pictures: Tensor) -> Tensor:
    """Return the latents (n, c, 16, 16) of pictures (n, 3, 64, 64) between 0 and 1."""
    parts = [pipeline.vae.encode(part * 2.0 - 1.0).latent_dist.mode() for part in pictures.split(64)]
    return torch.cat(parts) * pipeline.vae.config.scaling_factor


def encode_captions(pipeline: StableDiffusionPipeline, captions: list[str]) -> Tensor:
    """Return the hidden states of captions, through which gradients reach what is trained in the text encoder."""
    encoded = pipeline.tokenizer(
        captions, padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt"
    )
    states: Tensor = pipeline.text_encoder(encoded.input_ids).last_hidden_state
    return states


def velocity_loss(
    pipeline: StableDiffusionPipeline,
    clean: Tensor,
    states: Tensor,
    added: dict[str, list[Tensor]] | None = None,
) -> Tensor:
    """Return how far the UNet's velocity is off for latents at random timesteps; ``added`` are other conditions."""
    timesteps = random_timesteps(len(clean))
    noise = torch.randn_like(clean)
    noisy = pipeline.scheduler.add_noise(clean, noise, timesteps)
    got = pipeline.unet(noisy, timesteps, states, added_cond_kwargs=added).sample
    return functional.mse_loss(got, pipeline.scheduler.get_velocity(clean, noise, timesteps))


def fit(
    parameters: list[nn.Parameter],
    loss_of: Callable[[Random], Tensor],
    *,
    seed: int,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.01,
) -> None:
    """Take the steps with one thread, the learning rate falling to a tenth; each step has a seed of its own."""
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=steps)
    began, total = time.process_time(), 0.0
    for step in range(1, steps + 1):
        random = seeded(f"{seed} step {step}")
        torch.manual_seed(random.getrandbits(48))
        loss = loss_of(random)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        total += loss.item()
        if step % REPORT_EVERY == 0:
            seconds = time.process_time() - began
            print(f"step {step} loss {total / REPORT_EVERY:.4f} cpu seconds {seconds:.0f}", flush=True)
            total = 0.0
