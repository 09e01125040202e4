"""Pictures keep their pixels, and their files say about themselves what they were told."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.records import PLAN

from recipe_runner.images.encode import Format, encode, pixel_sha256
from recipe_runner.images.metadata import Metadata, add_metadata, metadata_of, read_metadata
from recipe_runner.problems.problem import RecordError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FORMATS: tuple[Format, ...] = get_args(Format)
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 65, 3), dtype=np.uint8)
TEXT = "a bear\nSteps: 20, Sampler: Euler, CFG scale: 7.5, Seed: 33"
BARE = {name: encode(PIXELS, name).data for name in FORMATS}


def decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(data)) as image:
        image.load()
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", ["png", "webp"])
def test_lossless_formats_keep_every_pixel(name: Format) -> None:
    picture = encode(PIXELS, name)
    assert (picture.width, picture.height, picture.format) == (65, 48, name)
    assert np.array_equal(decoded(picture.data), PIXELS)
    assert picture.pixel_sha256 == pixel_sha256(decoded(picture.data))


@pytest.mark.parametrize("name", ["webp", "jpeg"])
def test_quality_is_obeyed(name: Format) -> None:
    low, high = (encode(PIXELS, name, quality).data for quality in (10, 90))
    assert len(low) < len(high)
    assert encode(PIXELS, name, 10).pixel_sha256 == pixel_sha256(PIXELS)
    error = np.abs(decoded(high).astype(int) - PIXELS).mean()
    assert error < np.abs(decoded(low).astype(int) - PIXELS).mean()


def test_the_pixel_digest_is_what_anyone_computes() -> None:
    with Image.open(BytesIO(BARE["png"])) as image:
        assert pixel_sha256(PIXELS) == hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()
    view = np.asfortranarray(PIXELS)[:, ::-1][:, ::-1]
    assert pixel_sha256(view) == pixel_sha256(PIXELS)
    assert encode(view, "png").data == BARE["png"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_says_what_it_was_told_and_keeps_its_pixels(tmp_path: Path, name: Format) -> None:
    told = Metadata(parameters=TEXT, plan_digest=PLAN)
    data = add_metadata(BARE[name], name, told)
    assert data == add_metadata(encode(PIXELS, name).data, name, told)
    path = tmp_path / "picture"
    path.write_bytes(data)
    assert read_metadata(path) == told
    assert np.array_equal(decoded(data), decoded(BARE[name]))
    with Image.open(path) as image:
        image.verify()


@pytest.mark.parametrize("name", FORMATS)
def test_either_may_be_missing(name: Format) -> None:
    assert metadata_of(BARE[name]) == Metadata()
    for told in (Metadata(parameters=TEXT), Metadata(plan_digest=PLAN)):
        found = metadata_of(add_metadata(BARE[name], name, told))
        assert (found.parameters or None, found.plan_digest) == (told.parameters, told.plan_digest)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, derandomize=True)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300))
def test_any_text_is_read_back(name: Format, text: str) -> None:
    assert metadata_of(add_metadata(BARE[name], name, Metadata(parameters=text))).parameters == text


def test_png_texts_are_latin_1_where_they_can_be() -> None:
    assert b"tEXtparameters\0caf\xe9" in add_metadata(BARE["png"], "png", Metadata(parameters="café"))
    assert b"iTXtparameters\0\0\0\0\0\xe7\x86\x8a" in add_metadata(BARE["png"], "png", Metadata(parameters="熊"))


@pytest.mark.parametrize("name", FORMATS)
def test_what_no_container_holds_is_replaced(name: Format) -> None:
    data = add_metadata(BARE[name], name, Metadata(parameters="a\0b\ud800c"))
    assert metadata_of(data).parameters == "a\ufffdb\ufffdc"


def test_a_text_too_long_for_a_jpeg_keeps_its_last_line() -> None:
    prompt, last = "🐻" * 20_000, "Steps: 20, Sampler: Euler, Seed: 33"
    for name in ("png", "webp"):
        found = metadata_of(add_metadata(BARE[name], name, Metadata(parameters=f"{prompt}\n{last}")))
        assert found.parameters == f"{prompt}\n{last}"
    found = metadata_of(add_metadata(BARE["jpeg"], "jpeg", Metadata(parameters=f"{prompt}\n{last}", plan_digest=PLAN)))
    assert found.plan_digest == PLAN
    assert found.parameters is not None
    kept, _, kept_last = found.parameters.rpartition("\n")
    assert kept_last == last
    assert kept.endswith("🐻…")
    assert len(kept) > 16_000


def test_a_picture_too_large_for_its_format_is_refused() -> None:
    with pytest.raises(RecordError) as caught:
        encode(np.zeros((1, 16_384, 3), np.uint8), "webp")
    problem = caught.value.problems[0]
    assert str(problem) == "error[E807]: a webp file cannot contain an image of 16384x1 pixels"
    assert problem.hint == "Set output.format to png."


@pytest.mark.parametrize("data", [b"", b"hello", BARE["png"][:40], BARE["jpeg"][:30], BARE["webp"][:16]])
def test_what_is_no_picture_is_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(RecordError) as caught:
        read_metadata(path)
    assert caught.value.problems[0].code == "E806"
    with pytest.raises(RecordError) as caught:
        read_metadata(tmp_path / "missing.png")
    assert caught.value.problems[0].code == "E802"


def test_other_arrays_are_a_bug() -> None:
    floats: Any = PIXELS.astype(np.float32)
    for wrong in (floats, PIXELS[..., :2], PIXELS[0], PIXELS[:0]):
        with pytest.raises(AssertionError, match="BUG: not uint8 pixels"):
            pixel_sha256(wrong)
    with pytest.raises(AssertionError, match="BUG: not an image format"):
        add_metadata(b"", "gif", Metadata())
