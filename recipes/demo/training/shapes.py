"""Exact pictures of one coloured shape on a coloured background, and captions for them.

Every picture is drawn from a signed-distance function, so a picture of any position and size costs the same and its
edges are anti-aliased exactly. Everything random comes from the generator that the caller passes in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

IMAGE_SIZE: Final = 64

Rgb = tuple[int, int, int]

NAMED_COLOURS: Final[dict[str, Rgb]] = {
    "red": (220, 40, 40),
    "orange": (250, 145, 30),
    "yellow": (250, 225, 50),
    "green": (50, 165, 70),
    "blue": (40, 85, 220),
    "purple": (140, 60, 180),
    "pink": (250, 150, 200),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
"""The colours that captions name."""

UNNAMED_COLOURS: Final[dict[str, Rgb]] = {"teal": (0, 150, 150), "brown": (130, 80, 40)}
"""Colours that shapes have in some training pictures and no caption ever names: room for textual inversion."""

COLOURS: Final = {**NAMED_COLOURS, **UNNAMED_COLOURS}

RADII: Final[dict[str, tuple[float, float]]] = {"small": (0.52, 0.58), "large": (0.77, 0.83)}
"""The radius of a shape, as a share of half the picture's width."""

SIZE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
}

OFFSETS: Final = {"small": 3.0, "large": 2.0}
"""How far, in pixels, the centre of a shape may lie from the centre of the picture, along each axis."""

SILHOUETTE: Final = (16, 32)
"""Rows and columns of a silhouette: 512 numbers, as many as a face embedding has."""


def seeded(seed: int | str) -> Random:
    """Return a generator of the same numbers for the same seed."""
    return Random(seed)  # noqa: S311 - for pictures and captions, not for secrets


@dataclass(frozen=True, slots=True)
class Scene:
    """What one picture shows.

    Attributes:
        shape: One of ``SHAPES``.
        colour: The colour of the shape, 0 to 255.
        background: The colour around it, 0 to 255.
        radius: Half the extent of the shape, in pixels.
        centre: Where the shape lies, in pixels from the middle, x to the right and y down.
        blur: The deviation of a Gaussian blur over the whole picture, in pixels.
        outline: The width of the line along the inside of the edge, in pixels, or 0 for a filled shape.
    """

    shape: str
    colour: Rgb
    background: Rgb
    radius: float
    centre: tuple[float, float] = (0.0, 0.0)
    blur: float = 0.0
    outline: float = 0.0


def _polygon(x: Tensor, y: Tensor, corners: Sequence[tuple[float, float]]) -> Tensor:
    """Return the signed distance to a simple polygon."""
    nearest = torch.full_like(x, math.inf)
    sign = torch.ones_like(x)
    for (ax, ay), (bx, by) in zip(corners, [corners[-1], *corners[:-1]], strict=True):
        ex, ey = bx - ax, by - ay
        wx, wy = x - ax, y - ay
        along = ((wx * ex + wy * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0)
        nearest = torch.minimum(nearest, (wx - ex * along) ** 2 + (wy - ey * along) ** 2)
        above, below, left = y >= ay, y < by, ex * wy > ey * wx
        flips = (above & below & left) | (~above & ~below & ~left)
        sign = torch.where(flips, -sign, sign)
    return sign * nearest.sqrt()


def _on_circle(angle: float, radius: float) -> tuple[float, float]:
    return radius * math.sin(angle), -radius * math.cos(angle)


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 1.0


def _square(x: Tensor, y: Tensor) -> Tensor:
    side = 0.88
    outside_x, outside_y = x.abs() - side, y.abs() - side
    inside = torch.maximum(outside_x, outside_y).clamp(max=0.0)
    return torch.hypot(outside_x.clamp(min=0.0), outside_y.clamp(min=0.0)) + inside


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return _polygon(x, y, [(0.0, -0.95), (1.0, 0.8), (-1.0, 0.8)])


def _star(x: Tensor, y: Tensor) -> Tensor:
    corners = [_on_circle(math.pi * i / 5.0, 0.47 if i % 2 else 1.08) for i in range(10)]
    return _polygon(x, y - 0.08, corners)


def _heart(x: Tensor, y: Tensor) -> Tensor:
    x, y = x.abs() / 1.68, (0.92 - y) / 1.68
    lobe = torch.hypot(x - 0.25, y - 0.75) - math.sqrt(2.0) / 4.0
    foot = 0.5 * (x + y).clamp(min=0.0)
    tip = torch.minimum(x**2 + (y - 1.0) ** 2, (x - foot) ** 2 + (y - foot) ** 2).sqrt() * torch.sign(x - y)
    return 1.68 * torch.where(x + y > 1.0, lobe, tip)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    arm = 0.34
    quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    corners = [*quarter]
    for _ in range(3):
        quarter = [(-cy, cx) for cx, cy in quarter]
        corners += quarter
    return _polygon(x, y, corners)


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.76).abs() - 0.24


def _moon(x: Tensor, y: Tensor) -> Tensor:
    x = x - 0.27
    return torch.maximum(torch.hypot(x, y) - 1.0, 0.85 - torch.hypot(x - 0.55, y))


SHAPES: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "ring": _ring,
    "moon": _moon,
}
"""The signed distance of each shape at radius 1, x to the right and y down, negative inside."""


def coverage(shape: str, radius: Tensor, centre: Tensor, outline: Tensor | None = None) -> Tensor:
    """Return how much of each pixel the shape covers, one picture for each radius."""
    grid = torch.arange(IMAGE_SIZE) + 0.5 - IMAGE_SIZE / 2
    x = (grid[None, None, :] - centre[:, :1, None]) / radius[:, None, None]
    y = (grid[None, :, None] - centre[:, 1:, None]) / radius[:, None, None]
    x, y = x.expand(-1, IMAGE_SIZE, -1), y.expand(-1, -1, IMAGE_SIZE)
    distance = SHAPES[shape](x, y) * radius[:, None, None]
    if outline is not None:
        line = outline[:, None, None]
        distance = torch.where(line > 0.0, (distance + line / 2).abs() - line / 2, distance)
    return (0.5 - distance).clamp(0.0, 1.0)


def gaussian_blur(pictures: Tensor, deviation: float) -> Tensor:
    """Return pictures (n, c, h, w) blurred, the border repeated outwards."""
    reach = math.ceil(3.0 * deviation)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    kernel = (kernel / kernel.sum()).expand(pictures.shape[1], 1, 1, -1)
    padded = functional.pad(pictures, (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(padded, kernel, groups=pictures.shape[1])
    return functional.conv2d(rows, kernel.transpose(2, 3), groups=pictures.shape[1])


def draw(scenes: Sequence[Scene]) -> Tensor:
    """Draw scenes as pictures (n, 3, 64, 64) between 0 and 1."""
    radius = torch.tensor([scene.radius for scene in scenes])
    centre = torch.tensor([scene.centre for scene in scenes])
    outline = torch.tensor([scene.outline for scene in scenes])
    mask = torch.empty(len(scenes), IMAGE_SIZE, IMAGE_SIZE)
    for shape in SHAPES:
        rows = [i for i, scene in enumerate(scenes) if scene.shape == shape]
        if rows:
            mask[rows] = coverage(shape, radius[rows], centre[rows], outline[rows])
    colour = torch.tensor([scene.colour for scene in scenes])[:, :, None, None] / 255.0
    background = torch.tensor([scene.background for scene in scenes])[:, :, None, None] / 255.0
    pictures = torch.lerp(background, colour, mask[:, None])
    for i, scene in enumerate(scenes):
        if scene.blur > 0.0:
            pictures[i : i + 1] = gaussian_blur(pictures[i : i + 1], scene.blur)
    return pictures


def silhouettes(scenes: Sequence[Scene]) -> Tensor:
    """Return each scene's shape on a coarse grid, as 512 numbers of length 1: what a face embedding is to faces."""
    masks = draw([replace(scene, colour=(255, 255, 255), background=(0, 0, 0)) for scene in scenes])[:, :1]
    return functional.normalize(functional.adaptive_avg_pool2d(masks, SILHOUETTE).flatten(1), dim=-1)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a caption can ask for: a shape, its colour and the background's, by name."""

    shape: str
    colour: str
    background: str


def _subjects() -> tuple[tuple[Subject, ...], tuple[Subject, ...]]:
    seen: list[Subject] = []
    held_out: list[Subject] = []
    triples = product(enumerate(SHAPES), enumerate(NAMED_COLOURS), enumerate(NAMED_COLOURS))
    for (i, shape), (j, colour), (k, background) in triples:
        if colour != background:
            (held_out if (i + 3 * j + 7 * k) % 10 == 0 else seen).append(Subject(shape, colour, background))
    return tuple(seen), tuple(held_out)


SEEN_SUBJECTS, HELD_OUT_SUBJECTS = _subjects()
"""The combinations that training shows, and the tenth of all that it never does.

The rule holds out eight combinations of every shape but the circle, of which training shows all.
"""


def random_scene(random: Random, subject: Subject, size: str, *, blurry: bool = False, jitter: int = 4) -> Scene:
    """Return a scene of the subject with a random place, radius and slight change of both colours."""

    def near(colour: Rgb) -> Rgb:
        red, green, blue = (min(255, max(0, part + random.randint(-jitter, jitter))) for part in colour)
        return red, green, blue

    reach = OFFSETS[size]
    return Scene(
        shape=subject.shape,
        colour=near(COLOURS[subject.colour]),
        background=near(COLOURS[subject.background]),
        radius=random.uniform(*RADII[size]) * IMAGE_SIZE / 2,
        centre=(random.uniform(-reach, reach), random.uniform(-reach, reach)),
        blur=random.uniform(2.5, 4.0) if blurry else 0.0,
    )
