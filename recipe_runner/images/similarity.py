"""Compare two images by their pixels: identical, within a tolerance, or different, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from recipe_runner.disk.atomic import reading
from recipe_runner.images.read import WRITTEN, UnreadableImage, open_image
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]

Verdict: TypeAlias = Literal["identical", "within tolerance", "different"]

_WINDOW = 11
_SIGMA = 1.5
_STRIP = 16
_PEAK = 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far two images may differ and still count as the same; all three limits must hold.

    The defaults allow the small differences between library versions and devices, and nothing that is visible:
    `max_abs` in steps of 255, `psnr` in dB, `ssim` from -1 to 1.
    """

    max_abs: int = 8
    psnr: float = 40.0
    ssim: float = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How two images differ. The numbers are None if the sizes differ.

    `max_abs` is the largest difference of a channel (0 to 255), `differing` the share of pixels that are not equal (0
    to 1), `psnr` in dB (infinite for identical images), `ssim` the mean structural similarity (1 for identical ones).
    """

    verdict: Verdict
    max_abs: int | None = None
    differing: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    reason: str = ""


IDENTICAL = Comparison(verdict="identical", max_abs=0, differing=0.0, psnr=math.inf, ssim=1.0)


def read_pixels(path: Path) -> Pixels:
    """The pixels of an image file, uint8 [H, W, 3].

    Raises:
        RecordError: E802, the file cannot be read; E806, it is not an image.
    """
    with reading(path):
        file = path.open("rb")
    with file:
        try:
            with open_image(file, WRITTEN) as image:
                return np.asarray(image.convert("RGB"))
        except UnreadableImage as error:
            problem = Problem(code="E806", message=f"not a readable image: {error}", place=Place(str(path)))
            raise RecordError(problem) from error


def compare_files(first: Path, second: Path, tolerance: Tolerance | None = None) -> Comparison:
    """Compare two image files by their decoded pixels.

    Raises:
        RecordError: as `read_pixels`.
    """
    return compare_pixels(read_pixels(first), read_pixels(second), tolerance)


def compare_pixels(first: Pixels, second: Pixels, tolerance: Tolerance | None = None) -> Comparison:
    """Compare uint8 pixels [H, W, 3]."""
    if first.shape != second.shape:
        sizes = [f"{width}x{height}" for height, width, _ in (first.shape, second.shape)]
        return Comparison(verdict="different", reason=f"{sizes[0]} and {sizes[1]} pixels")
    if np.array_equal(first, second):
        return IDENTICAL
    allowed = tolerance or Tolerance()
    difference = np.abs(first.astype(np.int16) - second.astype(np.int16))
    max_abs, found_psnr, found_ssim = int(difference.max()), psnr(first, second), ssim(first, second)
    exceeded: list[str] = []
    if max_abs > allowed.max_abs:
        exceeded.append(f"a channel differs by {max_abs} (at most {allowed.max_abs})")
    if found_psnr < allowed.psnr:
        exceeded.append(f"PSNR {found_psnr:.1f} dB (at least {allowed.psnr:g})")
    if found_ssim < allowed.ssim:
        exceeded.append(f"SSIM {found_ssim:.4f} (at least {allowed.ssim:g})")
    verdict: Verdict = "within tolerance"
    if exceeded:
        verdict = "different"
    return Comparison(
        verdict=verdict,
        max_abs=max_abs,
        differing=float(difference.any(axis=2).mean()),
        psnr=found_psnr,
        ssim=found_ssim,
        reason=", ".join(exceeded),
    )


def psnr(first: Pixels, second: Pixels) -> float:
    """Peak signal-to-noise ratio in dB of uint8 pixels of one shape, all channels together; infinite when equal."""
    error = float(np.mean((first.astype(np.float64) - second.astype(np.float64)) ** 2))
    if error == 0:
        return math.inf
    return 10 * math.log10(_PEAK**2 / error)


def ssim(first: Pixels, second: Pixels) -> float:
    """Mean structural similarity of uint8 pixels [H, W, 3], from -1 to 1: the mean over the channels.

    Source: Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity
    (2004), equation 13, with its Gaussian window of 11 pixels and deviation 1.5, K1 = 0.01, K2 = 0.03 and population
    statistics, as scikit-image computes it with `gaussian_weights=True, use_sample_covariance=False`. Only windows that
    are inside the image count; on a side of fewer than 11 pixels the window is as long as the side.
    """
    x, y = first.astype(np.float64), second.astype(np.float64)
    height = len(x)
    window = min(_WINDOW, height)
    total, count = 0.0, 0
    # In strips whose intermediate values stay in the processor's cache: a fifth of the time of the whole image at once.
    for top in range(0, height - window + 1, _STRIP):
        strip = slice(top, top + _STRIP + window - 1)
        found = _similarity(x[strip], y[strip])
        total, count = total + float(found.sum()), count + found.size
    return total / count


def _similarity(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The structural similarity of every window inside two images [H, W, C]."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x = _blurred(x * x) - mean_x**2
    variance_y = _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    found: NDArray[np.float64] = numerator / denominator
    return found


def _blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Gaussian mean of every window inside [H, W, C], along one axis after the other."""
    for axis in (0, 1):
        length = min(_WINDOW, values.shape[axis])
        weights = np.exp(-0.5 * ((np.arange(length) - (length - 1) / 2) / _SIGMA) ** 2)
        weights /= weights.sum()
        turned = np.moveaxis(values, axis, 0)
        count = len(turned) - length + 1
        blurred = weights[0] * turned[:count]
        for k in range(1, length):
            blurred += weights[k] * turned[k : k + count]
        values = np.moveaxis(blurred, 0, axis)
    return values
