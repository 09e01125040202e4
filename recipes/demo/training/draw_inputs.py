"""Draw the image prompts, the masks and the silhouettes that the recipes use.

Run by hand: ``python -m training.draw_inputs inputs``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .shapes import COLOURS, IMAGE_SIZE, RADII, Scene, Subject, draw, silhouettes

PROMPTS: Final = (
    Subject("star", "yellow", "blue"),
    Subject("heart", "red", "white"),
    Subject("cross", "green", "black"),
    Subject("ring", "purple", "orange"),
)


def scene(subject: Subject) -> Scene:
    """Return the scene of a large subject in the middle."""
    radius = sum(RADII["large"]) / 2 * IMAGE_SIZE / 2
    return Scene(subject.shape, COLOURS[subject.colour], COLOURS[subject.background], radius)


def half(*, left: bool) -> Tensor:
    """Return a mask (1, 64, 64) that is white on one side."""
    white = torch.arange(IMAGE_SIZE) < IMAGE_SIZE // 2
    return (white if left else ~white).float().expand(1, IMAGE_SIZE, -1)


def save(picture: Tensor, file: Path) -> None:
    """Write a picture, grey where it has one channel."""
    pixels = (picture * 255.0).round().byte().permute(1, 2, 0).squeeze(-1).contiguous()
    Image.fromarray(pixels.numpy()).save(file)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder to write")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for subject in PROMPTS:
        save(draw([scene(subject)])[0], folder / f"{subject.colour}-{subject.shape}.png")
        np.save(folder / f"{subject.shape}.npy", silhouettes([scene(subject)])[0].numpy())
    save(half(left=True), folder / "left.png")
    save(half(left=False), folder / "right.png")


if __name__ == "__main__":
    main()
