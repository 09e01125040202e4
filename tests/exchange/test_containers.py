"""The texts of pictures, whatever the container and however it was written."""

from __future__ import annotations

import zlib
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.foreign import SIGNATURE, chunk, png, text_chunk, with_comment

from recipe_runner.exchange.importers import png_texts as png_module
from recipe_runner.exchange.importers.containers import Damaged, image_format, image_texts, user_comment

TEXT = "a naïve bear\nSteps: 20, Sampler: Euler a, Seed: 7"
JAPANESE = "熊、ピザ\nSteps: 20, Sampler: Euler a, Seed: 7"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("text", [TEXT, JAPANESE])
def test_png_chunks(text: str, *, after: bool) -> None:
    compressed = b"zTXt", b"z\0\0" + zlib.compress(text.encode())
    packed = b"iTXt", b"i\0\1\0en\0translated\0" + zlib.compress(text.encode())
    data = png(text_chunk("parameters", text), compressed, packed, after=after)
    assert image_texts(data, "PNG") == {"parameters": text, "z": text, "i": text}


def test_utf_8_in_a_latin_1_chunk_is_read_as_what_it_is() -> None:
    assert image_texts(png((b"tEXt", b"a\0" + JAPANESE.encode())), "PNG") == {"a": JAPANESE}


def test_a_png_that_is_cut_off_or_has_wrong_checksums_keeps_its_texts() -> None:
    data = png(text_chunk("parameters", TEXT))
    broken = data.replace(zlib.crc32(b"tEXt" + text_chunk("parameters", TEXT)[1]).to_bytes(4, "big"), b"\0\0\0\0")
    assert broken != data
    assert image_texts(broken, "PNG") == {"parameters": TEXT}
    assert image_texts(data[: data.index(b"IDAT") + 6], "PNG") == {"parameters": TEXT}


def test_a_bomb_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_module, "LARGEST_INFLATED", 1_000_000)
    bomb = b"zTXt", b"z\0\0" + zlib.compress(b"a" * 50_000_000)
    assert image_texts(png(bomb, text_chunk("parameters", TEXT)), "PNG") == {"parameters": TEXT}


def test_a_png_of_absurd_size_is_not_decoded() -> None:
    head = (100_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    data = SIGNATURE + chunk(b"IHDR", head) + chunk(*text_chunk("parameters", TEXT))
    assert image_texts(data, "PNG") == {"parameters": TEXT}


ENCODINGS = {
    "big endian": b"UNICODE\0" + JAPANESE.encode("utf-16-be"),
    "little endian": b"UNICODE\0" + JAPANESE.encode("utf-16-le"),
    "with a mark": b"UNICODE\0" + JAPANESE.encode("utf-16"),
    "UTF-8 under the wrong name": b"UNICODE\0" + JAPANESE.encode(),
    "ASCII": b"ASCII\0\0\0" + JAPANESE.encode(),
    "JIS": b"JIS\0\0\0\0\0" + JAPANESE.encode("iso2022_jp"),
    "undefined": b"\0" * 8 + JAPANESE.encode(),
    "no name": JAPANESE.encode(),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings_of_a_user_comment(name: str) -> None:
    assert user_comment(ENCODINGS[name]) == JAPANESE


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "AVIF", "PNG"])
def test_exif_of_every_format(name: str) -> None:
    data = with_comment(name, ENCODINGS["big endian"])
    assert image_format(data) == name
    assert image_texts(data, name)["UserComment"] == JAPANESE


def test_a_gif_comment() -> None:
    file = BytesIO()
    Image.new("P", (8, 8)).save(file, "GIF", comment=TEXT.encode())
    assert image_texts(file.getvalue(), "GIF") == {"comment": TEXT}


SAMPLES = {
    **{name: with_comment(name, ENCODINGS["big endian"]) for name in ("JPEG", "WEBP", "AVIF")},
    "PNG": png(text_chunk("parameters", TEXT), (b"zTXt", b"z\0\0" + zlib.compress(b"a" * 99))),
}


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(SAMPLES)), data=st.data())
def test_damage_is_told_and_never_raises_anything_else(name: str, data: st.DataObject) -> None:
    sample = bytearray(SAMPLES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        sample[data.draw(st.integers(4, len(sample) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(12, len(sample)))
    try:
        found = image_texts(bytes(sample[:cut]), name)
    except Damaged:
        return
    assert all(isinstance(text, str) for text in found.values())
