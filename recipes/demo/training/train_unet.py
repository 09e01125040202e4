"""Train the UNet on latents of the seen subjects: v-prediction, zero terminal signal-to-noise.

Run by hand, after the autoencoder and the text encoder: ``torchrun --nproc-per-node 2 -m training.train_unet --work
WORK``. It goes on from its checkpoint where one lies in WORK.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from .captions import Wish, write_caption
from .parallel import average_gradients, start
from .shapes import RADII, SEEN_SUBJECTS, UNNAMED_COLOURS, Subject, draw, random_scene, seeded
from .tokenizer import MAX_LENGTH

SEED: Final = 13
PICTURES: Final = 32768
BLURRY_SHARE: Final = 0.05
UNNAMED_SHARE: Final = 0.06
EMPTY_SHARE: Final = 0.1
OPEN_SHARE: Final = 0.05
BATCH: Final = 64
"""Samples in a step, in each of the two processes."""
STEPS: Final = 2500
LEARNING_RATE: Final = 1.2e-3
WARM_UP: Final = 150
DECAY: Final = 1000
"""Over how many steps the learning rate falls at the end."""
EMA_DECAY: Final = 0.998
UNIFORM_SHARE: Final = 0.4
MIDDLE_TIMESTEP: Final = 650.0
TIMESTEP_DEVIATION: Final = 150.0


@dataclass(frozen=True, slots=True)
class Label:
    """What a training picture shows, in words."""

    subject: Subject
    size: str
    blurry: bool


def build(latent_channels: int) -> UNet2DConditionModel:
    """Return the untrained UNet: text enters by cross attention and, pooled, beside the timestep."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=8,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def build_scheduler() -> DDIMScheduler:
    """Return the noise scheduler of training and sampling."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def random_labels(random: Random, count: int) -> list[Label]:
    """Return what the training pictures show; a few shapes have a colour that no caption names."""
    labels = []
    for _ in range(count):
        subject = random.choice(SEEN_SUBJECTS)
        if random.random() < UNNAMED_SHARE:
            subject = Subject(subject.shape, random.choice(tuple(UNNAMED_COLOURS)), subject.background)
        labels.append(Label(subject, random.choice(tuple(RADII)), random.random() < BLURRY_SHARE))
    return labels


def caption(random: Random, label: Label) -> str:
    """Return a caption that says some or all of what the picture shows, or nothing."""
    if random.random() < EMPTY_SHARE:
        return ""

    def said(word: str, open_share: float = OPEN_SHARE) -> str | None:
        return None if random.random() < open_share else word

    subject = label.subject
    wish = Wish(
        shape=said(subject.shape),
        colour=None if subject.colour in UNNAMED_COLOURS else said(subject.colour),
        background=said(subject.background),
        size=said(label.size, 0.5),
        blurry=label.blurry,
    )
    return write_caption(random, wish)


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, random: Random, labels: list[Label]) -> Tensor:
    """Return the latents (n, c, 16, 16) of one picture for each label."""
    latents = []
    for first in range(0, len(labels), 64):
        part = labels[first : first + 64]
        pictures = draw([random_scene(random, label.subject, label.size, blurry=label.blurry) for label in part])
        latents.append(vae.encode(pictures * 2.0 - 1.0).latent_dist.mode() * vae.config.scaling_factor)
    return torch.cat(latents)


def load_latents(vae: AutoencoderKL, file: Path, labels: list[Label], rank: int) -> Tensor:
    """Return the latents of this process's pictures, encoded at the first call and kept in a file."""
    if not file.exists():
        torch.save(encode_pictures(vae, seeded(f"{SEED} pictures {rank}"), labels), file)
    latents: Tensor = torch.load(file)
    return latents


def random_timesteps(count: int) -> Tensor:
    """Return timesteps, more of them where the shape is decided."""
    uniform = torch.rand(count) * 1000.0
    middle = MIDDLE_TIMESTEP + TIMESTEP_DEVIATION * torch.randn(count)
    return torch.where(torch.rand(count) < UNIFORM_SHARE, uniform, middle).clamp(0.0, 999.0).long()


@torch.no_grad()
def embed(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, captions: list[str]) -> Tensor:
    """Return the hidden states of captions."""
    encoded = tokenizer(captions, padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt")
    states: Tensor = encoder(encoded.input_ids).last_hidden_state
    return states


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, step: int) -> None:
    """Move the average towards the model, faster at first."""
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1.0 - decay)


def learning_rate(step: int) -> float:
    """Return the share of the full learning rate at a step: a warm-up, a plateau, and a straight way down to 0."""
    return min((step + 1) / WARM_UP, 1.0, (STEPS - step) / DECAY)


def train(work: Path, pictures: int = PICTURES) -> None:
    """Train from the checkpoint, if there is one, to the end; save the average as ``unet``."""
    rank, world = start()
    labels = random_labels(seeded(f"{SEED} labels {rank}"), pictures // world)
    vae = AutoencoderKL.from_pretrained(work / "vae").eval()
    latents = load_latents(vae, work / f"latents-{rank}.pt", labels, rank)
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(work / "text_encoder").eval()
    torch.manual_seed(SEED)
    unet, average = build(latents.shape[1]), build(latents.shape[1])
    average.load_state_dict(unet.state_dict())
    optimizer = torch.optim.AdamW(unet.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate)
    scheduler = build_scheduler()
    parts = {"unet": unet, "average": average, "optimizer": optimizer, "rate": rate}
    checkpoint, done = work / "unet-checkpoint.pt", 0
    if checkpoint.exists():
        kept = torch.load(checkpoint)
        done = kept["step"]
        for name, part in parts.items():
            part.load_state_dict(kept[name])
    began, total = time.monotonic(), 0.0
    for step in range(done, STEPS):
        random = seeded(f"{SEED} step {step} rank {rank}")
        torch.manual_seed(random.getrandbits(48))
        rows = [random.randrange(len(labels)) for _ in range(BATCH)]
        states = embed(tokenizer, encoder, [caption(random, labels[row]) for row in rows])
        clean, timesteps = latents[rows], random_timesteps(BATCH)
        noise = torch.randn_like(clean)
        wanted = scheduler.get_velocity(clean, noise, timesteps)
        got = unet(scheduler.add_noise(clean, noise, timesteps), timesteps, states).sample
        loss = functional.mse_loss(got, wanted)
        optimizer.zero_grad()
        loss.backward()
        average_gradients(unet, world)
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        rate.step()
        follow(average, unet, step)
        total += loss.item()
        if rank == 0 and (step + 1) % 50 == 0:
            seconds = time.monotonic() - began
            print(f"step {step + 1} loss {total / 50:.4f} seconds {seconds:.0f}", flush=True)
            total = 0.0
        if rank == 0 and (step + 1) % 100 == 0:
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save({"step": step + 1, **state}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    if rank == 0:
        average.save_pretrained(work / "unet")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder of what the earlier stages left")
    train(parser.parse_args().work)
