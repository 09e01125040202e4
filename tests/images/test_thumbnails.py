"""Thumbnails are made of large pictures only, once, and named after their pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.runs import pixels, write_run

from recipe_runner.images.thumbnails import thumbnail_path, write_thumbnail, write_thumbnails


def test_one_of_a_picture_that_was_just_made_is_not_made_again() -> None:
    large = pixels(0, (512, 256))
    made = write_run(Path("run"), {0: large})
    digest = hashlib.sha256(large.tobytes()).hexdigest()
    write_thumbnail(Path("run"), digest, large)
    path = Path("run") / thumbnail_path(digest)
    with Image.open(path) as thumbnail:
        assert thumbnail.size == (128, 256)
        # Each of its pixels is the mean of four, up to what WebP loses.
        means = large.reshape(256, 2, 128, 2, 3).mean(axis=(1, 3))
        assert np.abs(np.asarray(thumbnail.convert("RGB")) - means).mean() < 40
    before = path.stat().st_mtime_ns
    assert write_thumbnails(Path("run"), made.images) == {made.images[0].path: thumbnail_path(digest)}
    assert path.stat().st_mtime_ns == before


def test_a_small_picture_has_none() -> None:
    write_thumbnail(Path("run"), "0" * 64, pixels(0, (256, 256)))
    assert not Path("run").exists()


def test_where_nothing_can_be_written_pictures_stand_for_themselves() -> None:
    made = write_run(Path("run"), {0: pixels(0, (300, 300))})
    # A file where the folder should be: the same as a medium that cannot be written, and true for root too.
    Path("run/thumbnails").write_text("")
    assert write_thumbnails(Path("run"), made.images).get(made.images[0].path) is None


def test_a_page_does_not_wait_long_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    large = {0: pixels(0, (300, 300)), 1: pixels(1, (300, 300))}
    made = write_run(Path("run"), large)
    paths = [made.images[number].path for number in large]
    with monkeypatch.context() as patch:
        patch.setattr("recipe_runner.images.thumbnails.SECONDS", 0.0)
        assert write_thumbnails(Path("run"), made.images) == {path: path for path in paths}
    assert set(write_thumbnails(Path("run"), made.images)) == set(paths)
    assert len(list(Path("run/thumbnails").iterdir())) == len(large)


@pytest.mark.parametrize("damaged", [b"", b"no picture"])
def test_of_a_damaged_picture_there_is_none(damaged: bytes) -> None:
    made = write_run(Path("run"), {0: pixels(0, (300, 300))})
    (Path("run") / made.images[0].path).write_bytes(damaged)
    assert write_thumbnails(Path("run"), made.images) == {made.images[0].path: made.images[0].path}
