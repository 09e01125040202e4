"""Data-parallel training in a few one-thread processes on the processor's cores."""

from __future__ import annotations

import os

import torch
from torch import distributed, nn


def start() -> tuple[int, int]:
    """Use one thread, join the process group where torchrun started several; return this rank and their number."""
    torch.set_num_threads(1)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return 0, 1
    distributed.init_process_group("gloo")
    return distributed.get_rank(), world


def average_gradients(model: nn.Module, world: int) -> None:
    """Make every process's gradients the mean over all processes."""
    if world == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= world
    start_at = 0
    for gradient in gradients:
        gradient.copy_(flat[start_at : start_at + gradient.numel()].view_as(gradient))
        start_at += gradient.numel()
