"""The contact sheet shows every image at its place, within its bounds, and the same bytes each time."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from recipe_runner.images.contact_sheet import LARGEST_SIDE, Row, contact_sheet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from recipe_runner.canonical import Json

SCALES: list[Mapping[str, Json]] = [{"adapters.cereal.scale": scale} for scale in (0.0, 0.5, 1.0)]
COLOURS = [(200, 30, 40), (30, 160, 60), (40, 60, 200), (220, 180, 20), (120, 40, 160), (20, 170, 180)]


def picture(folder: Path, number: int, width: int = 64, height: int = 64) -> Path:
    path = folder / f"{number}-{width}x{height}.png"
    Image.new("RGB", (width, height), COLOURS[number % len(COLOURS)]).save(path)
    return path


def rows(folder: Path, width: int = 64, height: int = 64) -> list[Row]:
    pictures = [picture(folder, number, width, height) for number in range(6)]
    return [
        Row(prompt_id="bears", prompt="bears, pizza bites", seed=33, images=pictures[:3]),
        Row(prompt_id="bears", prompt="bears, pizza bites", seed=34, images=pictures[3:]),
    ]


def decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(data)) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def area(sheet: NDArray[np.uint8], colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Left, top and number of the pixels of exactly this colour."""
    ys, xs = np.nonzero((sheet == np.array(colour, np.uint8)).all(axis=2))
    return (int(xs.min()), int(ys.min()), len(xs)) if len(xs) else (0, 0, 0)


def test_every_image_stands_in_its_row_and_column(tmp_path: Path) -> None:
    sheet = decoded(contact_sheet("cereal-or-film", SCALES, rows(tmp_path)))
    places = [area(sheet, colour) for colour in COLOURS]
    # 64 pixels are enlarged three times, every pixel a square.
    assert [count for _, _, count in places] == [192 * 192] * 6
    lefts, tops = [left for left, _, _ in places], [top for _, top, _ in places]
    assert lefts[:3] == lefts[3:]
    assert lefts[0] < lefts[1] < lefts[2]
    assert len(set(tops[:3])) == len(set(tops[3:])) == 1
    assert tops[0] < tops[3]


def test_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    first = contact_sheet("a", SCALES, rows(tmp_path, 512, 768))
    assert contact_sheet("a", SCALES, rows(tmp_path, 512, 768)) == first
    assert contact_sheet("b", SCALES, rows(tmp_path, 512, 768)) != first


def test_labels_are_drawn(tmp_path: Path) -> None:
    plain = decoded(contact_sheet("a", SCALES, rows(tmp_path)))
    for changed in (
        contact_sheet("b", SCALES, rows(tmp_path)),
        contact_sheet("a", [{"adapters.cereal.scale": scale} for scale in (0.0, 0.7, 1.0)], rows(tmp_path)),
        contact_sheet("a", [{"adapters.film.scale": scale} for scale in (0.0, 0.5, 1.0)], rows(tmp_path)),
        contact_sheet("a", SCALES, [Row(prompt_id="b", prompt="x", seed=33, images=rows(tmp_path)[0].images)]),
    ):
        other = decoded(changed)
        assert other.shape != plain.shape or not np.array_equal(other, plain)


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    sheet = decoded(
        contact_sheet("a", [{}], [Row(prompt_id="a", prompt="a", seed=1, images=[picture(tmp_path, 0, 1024)])])
    )
    assert area(sheet, COLOURS[0])[2] == 384 * 24
    assert sheet.shape[1] < 800


def test_missing_and_broken_images_are_empty_cells(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    torn = tmp_path / "torn.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(torn)
    torn.write_bytes(torn.read_bytes()[:2_000])
    images = [picture(tmp_path, 0), None, broken, torn, tmp_path / "nowhere.png"]
    variants: list[Mapping[str, Json]] = [{"x": number} for number in range(5)]
    sheet = decoded(contact_sheet("a", variants, [Row(prompt_id="a", prompt="a", seed=1, images=images)]))
    assert area(sheet, COLOURS[0])[2] == 192 * 192
    empty = (sheet == np.array((0xF3, 0xF4, 0xF6), np.uint8)).all(axis=2).sum()
    assert 4 * 180 * 180 < empty < 4 * 192 * 192


def test_nothing_but_missing_images(tmp_path: Path) -> None:
    assert decoded(contact_sheet("a", [], [])).shape[1] == 480
    sheet = contact_sheet("a", [{}], [Row(prompt_id="a", prompt="a", seed=1, images=[None])])
    assert decoded(sheet).shape[0] > 160
    assert not list(tmp_path.glob("*.png"))


def test_the_sheet_keeps_within_its_bounds(tmp_path: Path) -> None:
    wide = [picture(tmp_path, number) for number in range(6)] * 40
    variants: list[Mapping[str, Json]] = [{"x": number, "y": "long/" * 100} for number in range(len(wide))]
    few = [Row(prompt_id="p" * 64, prompt="word " * 4_000, seed=2**64 - 1, images=wide)]
    many = [Row(prompt_id=f"p{number}", prompt="x" * 500, seed=1, images=[wide[0]]) for number in range(300)]
    for columns, lines in ((variants, few), (variants[:1], many)):
        height, width, _ = decoded(contact_sheet("n" * 100, columns, lines)).shape
        assert max(height, width) <= LARGEST_SIDE
    # A sheet of a hundred columns still shows them all, as squares of whole pixels.
    sheet = decoded(contact_sheet("a", variants[:96], [Row(prompt_id="a", prompt="a", seed=1, images=wide[:96])]))
    assert [area(sheet, colour)[2] for colour in COLOURS] == [16 * 64 * 64] * 6
