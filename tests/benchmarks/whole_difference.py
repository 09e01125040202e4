"""What a whole difference costs at the size of a real model: a LoKr on every layer of a UNet of SD 1.5's shape.

    OMP_NUM_THREADS=1 PYTHONPATH=tests .venv/bin/python tests/benchmarks/whole_difference.py

Processor time, the best of a few rounds, beside one denoising step of 512x512 pixels with guidance. About 10 GB.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from support import lycoris as kinds
from support.tuned import loaded, translated

ROUNDS = 3


def seconds(action: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    action()
    return time.process_time() - start


def main() -> None:
    """Measure."""
    model = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    model.eval().requires_grad_(requires_grad=False)
    layers = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    make = kinds.lokr("whole", "factors")
    with tempfile.TemporaryDirectory() as folder:
        tensors, _ = kinds.file_of(dict.fromkeys(layers, make), model, 1, size=0.01)
        tuners = loaded(model, lokr=translated(model, tensors, Path(folder) / "lokr.safetensors"))

    def scale(value: float) -> None:
        tuners.activate([("lokr", dict.fromkeys(layers, value))])

    found: dict[str, float] = {}
    for number in range(ROUNDS):
        actions: dict[str, Callable[[], object]] = {
            "to a scale not used before": partial(scale, 0.5 + number / 100),
            "to full scale (in the first round: its first use)": lambda: scale(1.0),
            "to scale 0": lambda: scale(0.0),
            "a step": lambda: model(torch.zeros(2, 4, 64, 64), 1, torch.zeros(2, 77, 768)),
        }
        for name, action in actions.items():
            with torch.no_grad():
                taken = seconds(action)
            print(f"{name}: {taken:.2f} s")
            found[name] = min(taken, found.get(name, taken))
    print(f"{len(layers)} layers; the best, and what part of a step it is:")
    for name, taken in found.items():
        print(f"{name}: {taken:.2f} s, {taken / found['a step']:.1%}")


if __name__ == "__main__":
    main()
