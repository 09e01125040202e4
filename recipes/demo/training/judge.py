"""Say what a picture shows, by measuring it: no network takes part.

The median of the border is the background, the median of what differs from it most is the colour, and the shape is the
exact template, scaled to the same extent, that overlaps best. A picture that overlaps with none well enough, or whose
edges are soft, shows no shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from .shapes import COLOURS, IMAGE_SIZE, SHAPES, coverage

BORDER: Final = 3
LEAST_CONTRAST: Final = 0.12
"""How far, on a scale of 0 to 1, the colour must lie from the background for anything to be seen."""
LEAST_OVERLAP: Final = 0.75
WIDEST_EDGE: Final = 5.0
"""How many times softer than an exact edge the edges may be."""
FARTHEST_COLOUR: Final = 0.28
"""How far a colour may lie from the one it is called."""
SIZE_BORDER: Final = 0.675
"""The extent, as a share of the picture's width, between small and large."""
HALF: Final = 0.5
NOISE: Final = 0.1
"""The share of the colour in a pixel that counts as none."""
BAND_PIXELS: Final = 24
"""How many pixels speak for a band of a round thing."""
EDGE_REACH: Final = 3
"""How many pixels from the edge the inside of a shape begins."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a picture shows; a name is None where nothing fits.

    Attributes:
        shape: The name of the shape.
        colour: The name of the shape's colour, unnamed ones included.
        background: The name of the background's colour, unnamed ones included.
        size: ``small`` or ``large``.
        overlap: The intersection of the shape with its template over their union.
        edge: How many times softer than exact the edges are.
    """

    shape: str | None
    colour: str | None
    background: str | None
    size: str | None
    overlap: float
    edge: float


def nearest_colour(colour: Tensor) -> str | None:
    """Return the name of the nearest colour, or None where none is near."""
    known = torch.tensor(list(COLOURS.values())) / 255.0
    distance, index = (known - colour).norm(dim=-1).min(dim=0)
    return list(COLOURS)[int(index)] if distance <= FARTHEST_COLOUR else None


@cache
def _unit_extent(shape: str) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a shape of radius 1."""
    mask = coverage(shape, torch.tensor([24.0]), torch.zeros(1, 2))[0]
    left, top, right, bottom = _extent(mask) or (0.0, 0.0, 0.0, 0.0)
    return left / 24.0, top / 24.0, right / 24.0, bottom / 24.0


def _extent(mask: Tensor) -> tuple[float, float, float, float] | None:
    """Return left, top, right and bottom of a mask, in pixels from the middle, to a share of a pixel."""
    ends = []
    for axis in (0, 1):
        line = mask.topk(2, dim=axis).values.select(axis, 1)
        inside = (line > HALF).nonzero().flatten()
        if len(inside) == 0:
            return None
        first, last = int(inside[0]), int(inside[-1])
        before = float(line[first - 1]) if first > 0 else 0.0
        after = float(line[last + 1]) if last + 1 < IMAGE_SIZE else 0.0
        ends.append((first - before - IMAGE_SIZE / 2, last + 1 + after - IMAGE_SIZE / 2))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def _candidates(shape: str, extent: tuple[float, float, float, float]) -> Tensor:
    """Return templates of the shape fitted to the extent, a little larger and smaller ones among them."""
    left, top, right, bottom = extent
    unit_left, unit_top, unit_right, unit_bottom = _unit_extent(shape)
    wide, high = (right - left) / (unit_right - unit_left), (bottom - top) / (unit_bottom - unit_top)
    radius = (wide + high) / 2 * torch.tensor([0.92, 0.96, 1.0, 1.04])
    middle = torch.tensor([(left + right) / 2, (top + bottom) / 2])
    unit_middle = torch.tensor([(unit_left + unit_right) / 2, (unit_top + unit_bottom) / 2])
    return coverage(shape, radius, middle - radius[:, None] * unit_middle)


def _edge_length(mask: Tensor) -> Tensor:
    across = mask[:-1, 1:] - mask[:-1, :-1]
    down = mask[1:, :-1] - mask[:-1, :-1]
    return torch.hypot(across, down).sum()


def _softness(mask: Tensor, template: Tensor) -> float:
    """Return how many times wider than one pixel's linear ramp the edges are."""
    return float(6.0 * (mask * (1.0 - mask)).sum() / _edge_length(template))


def _read(picture: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the background, the colour on it if there is one, and how much of it each pixel has."""
    inner = torch.zeros(IMAGE_SIZE, IMAGE_SIZE, dtype=torch.bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    background = picture[:, ~inner].median(dim=-1).values
    difference = (picture - background[:, None, None]).norm(dim=0)
    strongest = difference.flatten().quantile(0.98)
    if strongest < LEAST_CONTRAST:
        return background, None, torch.zeros_like(difference)
    colour = picture[:, difference > 0.7 * strongest].median(dim=-1).values
    contrast = colour - background
    mask = ((picture - background[:, None, None]) * contrast[:, None, None]).sum(0) / contrast.square().sum()
    return background, colour, torch.where(mask < NOISE, 0.0, mask.clamp(0.0, 1.0))


def judge(picture: Tensor) -> Verdict:
    """Return what a picture (3, 64, 64) between 0 and 1 shows."""
    background, colour, mask = _read(picture)
    extent = _extent(mask)
    if colour is None or extent is None:
        return Verdict(None, None, nearest_colour(background), None, 0.0, 0.0)
    best, overlap, template = "", -1.0, mask
    for shape in SHAPES:
        templates = _candidates(shape, extent)
        overlaps = torch.minimum(templates, mask).sum((1, 2)) / torch.maximum(templates, mask).sum((1, 2))
        if overlaps.max() > overlap:
            best, overlap, template = shape, float(overlaps.max()), templates[overlaps.argmax()]
    edge = _softness(mask, template)
    left, top, right, bottom = extent
    return Verdict(
        shape=best if overlap >= LEAST_OVERLAP and edge <= WIDEST_EDGE else None,
        colour=nearest_colour(colour),
        background=nearest_colour(background),
        size="small" if max(right - left, bottom - top) < SIZE_BORDER * IMAGE_SIZE else "large",
        overlap=overlap,
        edge=edge,
    )


def interior_fill(picture: Tensor, shape: str) -> float:
    """Return how much of the shape's colour its inside has, away from its edges: 1 if filled, 0 if an outline."""
    _, _, mask = _read(picture)
    extent = _extent(mask)
    if extent is None:
        return 0.0
    template = _candidates(shape, extent)[2]
    shrunk = 1.0 - functional.max_pool2d(1.0 - template[None], 2 * EDGE_REACH + 1, 1, EDGE_REACH)[0]
    inside = shrunk > HALF
    return float(mask[inside].mean()) if inside.any() else 0.0


def colour_error(picture: Tensor, name: str) -> float:
    """Return how far, from 0 to 255, the colour on the background lies from the one of that name."""
    background, colour, _ = _read(picture)
    return float(((background if colour is None else colour) - torch.tensor(COLOURS[name]) / 255.0).norm() * 255.0)


def background_fall(picture: Tensor) -> float:
    """Return how much darker, on a scale of 0 to 1, the background's lower edge is than its upper one."""
    return float(picture[:, :BORDER].mean() - picture[:, -BORDER:].mean())


def bands(picture: Tensor, radii: tuple[float, ...]) -> tuple[str | None, ...]:
    """Return the names of a round thing's colours at some distances from its middle, as shares of its radius."""
    background, _, _ = _read(picture)
    seen = (picture - background[:, None, None]).norm(dim=0) > 2.0 * LEAST_CONTRAST
    extent = _extent(seen.float())
    if extent is None:
        return tuple(None for _ in radii)
    left, top, right, bottom = extent
    grid = torch.arange(IMAGE_SIZE) + 0.5 - IMAGE_SIZE / 2
    distance = torch.hypot(
        (grid[None, :] - (left + right) / 2) / ((right - left) / 2),
        (grid[:, None] - (top + bottom) / 2) / ((bottom - top) / 2),
    )
    names = []
    for radius in radii:
        nearest = (distance - radius).abs().flatten().argsort()[:BAND_PIXELS]
        names.append(nearest_colour(picture.flatten(1)[:, nearest].median(dim=-1).values))
    return tuple(names)
