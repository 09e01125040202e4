"""Pictures are compared by their pixels, and the measures are the published ones."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipe_runner.images.similarity import IDENTICAL, Tolerance, compare_files, compare_pixels, psnr, ssim
from recipe_runner.problems.problem import RecordError


def noise(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 33, 3), dtype=np.uint8)


def pattern() -> np.ndarray:
    y, x = np.mgrid[:40, :33]
    return np.stack([(x * 5 + y * 3) % 256, (x * y) % 256, (x + 2 * y) % 256], 2).astype(np.uint8)


def shaken(pixels: np.ndarray) -> np.ndarray:
    steps = np.random.default_rng(2).integers(-3, 4, pixels.shape)
    return np.clip(pixels.astype(int) + steps, 0, 255).astype(np.uint8)


def test_the_measures_are_those_of_scikit_image() -> None:
    # scikit-image 0.26: structural_similarity(…, channel_axis=2, gaussian_weights=True, use_sample_covariance=False)
    # and peak_signal_noise_ratio of these very arrays.
    assert ssim(noise(), pattern()) == pytest.approx(0.020679092008230215, abs=1e-12)
    assert psnr(noise(), pattern()) == pytest.approx(7.95759580105524, abs=1e-9)
    assert ssim(pattern(), shaken(pattern())) == pytest.approx(0.9776953272501326, abs=1e-12)
    assert psnr(pattern(), shaken(pattern())) == pytest.approx(42.10527133278069, abs=1e-9)
    assert ssim(noise(), noise()) == pytest.approx(1)
    assert psnr(noise(), noise()) == math.inf


def test_identical_means_every_bit() -> None:
    assert compare_pixels(noise(), noise()) == IDENTICAL
    other = noise()
    other[3, 4, 1] ^= 1
    found = compare_pixels(noise(), other)
    assert (found.verdict, found.max_abs, found.differing) == ("within tolerance", 1, 1 / (40 * 33))


def test_every_bound_of_the_tolerance_must_hold() -> None:
    found = compare_pixels(pattern(), shaken(pattern()))
    assert (found.verdict, found.max_abs, found.reason) == ("different", 3, "SSIM 0.9777 (at least 0.99)")
    assert compare_pixels(pattern(), shaken(pattern()), Tolerance(ssim=0.97)).verdict == "within tolerance"
    tight = compare_pixels(pattern(), shaken(pattern()), Tolerance(max_abs=2, psnr=45, ssim=0.9))
    assert tight.reason == "a channel differs by 3 (at most 2), PSNR 42.1 dB (at least 45)"
    # One pixel is enough to be seen, though the means hardly move.
    dot = np.full((256, 256, 3), 127, np.uint8)
    dotted = dot.copy()
    dotted[100, 100] = 255
    assert compare_pixels(dot, dotted).verdict == "different"


def test_pictures_of_two_sizes_are_different() -> None:
    found = compare_pixels(noise(), noise()[:, :20])
    assert (found.verdict, found.max_abs, found.reason) == ("different", None, "33x40 and 20x40 pixels")


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3, 40)])
def test_tiny_pictures_have_a_similarity_too(size: tuple[int, int]) -> None:
    first, second = noise()[: size[0], : size[1]], noise(5)[: size[0], : size[1]]
    assert -1 <= ssim(first, second) < 1
    assert ssim(first, first) == pytest.approx(1)


def test_files_of_any_format_are_compared_by_what_they_show(tmp_path: Path) -> None:
    Image.fromarray(noise()).save(tmp_path / "a.png")
    Image.fromarray(noise()).save(tmp_path / "b.webp", lossless=True)
    Image.fromarray(noise()).save(tmp_path / "c.jpg", quality=10)
    assert compare_files(tmp_path / "a.png", tmp_path / "b.webp") == IDENTICAL
    assert compare_files(tmp_path / "a.png", tmp_path / "c.jpg").verdict == "different"
    (tmp_path / "d.png").write_bytes(b"no picture")
    for name, code in (("d.png", "E806"), ("e.png", "E802")):
        with pytest.raises(RecordError) as caught:
            compare_files(tmp_path / "a.png", tmp_path / name)
        assert caught.value.problems[0].code == code
