"""One function opens every image file: formats by an explicit list, pixels by one limit, whatever a file says."""

from __future__ import annotations

import ast
import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from support.command import ROOT, call, process

from recipe_runner.images.metadata import read_metadata
from recipe_runner.images.read import (
    FORMATS,
    LARGEST,
    WRITTEN,
    TooLarge,
    UnknownFormat,
    check_picture,
    grey_range,
    open_image,
    picture_size,
    read_picture,
)
from recipe_runner.images.similarity import read_pixels
from recipe_runner.problems.problem import RecipeRunnerError, WeightsError
from recipe_runner.weights.files.image_embeds import embeds_shape

READERS = {
    "check": lambda path: check_picture(path, "it"),
    "size": lambda path: picture_size(path, "it"),
    "mask": lambda path: grey_range(path, "it"),
    "pixels": lambda path: read_picture(path, "it"),
    "of a run": read_pixels,
    "metadata": read_metadata,
}
# Each makes Pillow's own `open` decode, by itself or through another program.
FOREIGN = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n4 4 scale\nshowpage\n%%EOF\n",
    "ppm": b"P6 4 4 255\n" + bytes(48),
    "sgi": None,
    "tga": None,
    "pcx": None,
}


def huge(kind: str) -> bytes:
    """A small file of a format that claims to be an image of more pixels than are decoded."""
    side = 16_000
    if kind == "PNG":
        head = b"IHDR" + side.to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
        body = (13).to_bytes(4) + head + zlib.crc32(head).to_bytes(4) + bytes(4) + b"IDAT" + bytes(4)
        return b"\x89PNG\r\n\x1a\n" + body
    if kind == "GIF":
        return (
            b"GIF89a"
            + side.to_bytes(2, "little") * 2
            + bytes(3)
            + b","
            + bytes(4)
            + side.to_bytes(2, "little") * 2
            + b"\0\2\0;"
        )
    if kind == "BMP":
        sizes = (40).to_bytes(4, "little") + side.to_bytes(4, "little") * 2
        return b"BM" + bytes(8) + (54).to_bytes(4, "little") + sizes + b"\1\0\x18\0" + bytes(24)
    raise AssertionError(kind)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", FOREIGN)
def test_no_other_format_is_opened_whatever_the_name(kind: str, reader: str, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    content = FOREIGN[kind]
    if content is None:
        Image.new("RGB", (4, 4)).save(tmp_path / f"it.{kind}")
        content = (tmp_path / f"it.{kind}").read_bytes()
    path.write_bytes(content)
    with Image.open(path) as image:
        assert image.format
        assert image.format not in FORMATS
    with pytest.raises(RecipeRunnerError) as caught:
        READERS[reader](path)
    assert caught.value.problems[0].code in ("E648", "E806")
    with pytest.raises(UnknownFormat), open_image(path):
        pass


def test_a_recipe_s_eps_starts_no_program(tmp_path: Path) -> None:
    bin_folder, mark = tmp_path / "bin", tmp_path / "started"
    bin_folder.mkdir()
    (bin_folder / "gs").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (bin_folder / "gs").chmod(0o755)
    (tmp_path / "demo").symlink_to(ROOT / "recipes" / "demo")
    (tmp_path / "cat.png").write_bytes(FOREIGN["eps"] or b"")
    given = {"image": "cat.png", "mask": "cat.png, image: demo/inputs/red-heart.png"}
    for key, value in given.items():
        (tmp_path / "r.yaml").write_text(
            "recipe: 1\nname: n\nbase: {model: demo/model}\n"
            f"adapters:\n  f: {{kind: ip_adapter, {key}: {value}, "
            "model: demo/ip_adapter/ip-adapter_shapes.safetensors}\n"
            "prompts: [{prompt: a star}]\nseeds: [1]\nsampling: {num_inference_steps: 1, height: 32, width: 32}\n"
        )
        answer = process("run", "r.yaml", cwd=tmp_path, PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
        assert (answer.status, "error[E648]" in answer.err) == (3, True), answer
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF"])
def test_the_formats_of_the_list_are_read(kind: str, tmp_path: Path) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    # The name says nothing.
    path = tmp_path / "it.dat"
    Image.new("RGB", (8, 6), (250, 0, 0)).save(path, kind)
    assert read_picture(path, "it").size == (8, 6)
    assert picture_size(path, "it") == (8, 6)
    check_picture(path, "it")
    assert kind not in WRITTEN or read_pixels(path).shape == (6, 8, 3)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
@pytest.mark.parametrize("reader", [name for name in READERS if name != "metadata"])
def test_a_small_file_of_huge_size_is_refused_everywhere(reader: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it.png"
    path.write_bytes(huge(kind))
    with pytest.raises(RecipeRunnerError) as caught:
        READERS[reader](path)
    assert caught.value.problems[0].code in ("E648", "E806")
    if reader != "of a run" or kind in WRITTEN:
        assert f"more than the {LARGEST}" in caught.value.problems[0].message
    with pytest.raises(TooLarge), open_image(path):
        pass


def test_texts_are_read_of_an_image_too_large_to_decode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "it.png"
    text = b"tEXtparameters\0a red star\nSteps: 5, Sampler: Euler, Seed: 1"
    chunk = (len(text) - 4).to_bytes(4) + text + zlib.crc32(text).to_bytes(4)
    data = huge("PNG")
    path.write_bytes(data[:33] + chunk + data[33:])
    answer = call(capsys, "import", str(path), "--base", "demo/model")
    assert (answer.status, "a red star" in answer.out) == (0, True), answer


@pytest.mark.parametrize("largest", [None, 100])
def test_a_frame_that_pillow_refuses_while_it_opens_a_file(largest: int | None, tmp_path: Path) -> None:
    # A GIF whose first frame reaches far beyond the file's own size: Pillow looks at it before pixels are asked for.
    frame = b"\x2c" + (60_000).to_bytes(2, "little") * 4 + b"\x00"
    path = tmp_path / "it.gif"
    path.write_bytes(b"GIF89a" + (8).to_bytes(2, "little") * 2 + bytes(3) + frame + b"\x02\x01\x00\x00\x3b")
    with pytest.raises(TooLarge), open_image(path, largest=largest):
        pass


def test_nothing_else_opens_images() -> None:
    """By the source: Pillow's `open`, and the libraries that read image files by themselves."""
    found = []
    for path in sorted((ROOT / "recipe_runner").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "Image.open", "Image.OPEN", "PIL.Image.open", "cv2.imread", "imageio.imread", "plt.imread",
            ):  # fmt: skip
                found.append(path.name)
            if isinstance(node, ast.Name) and node.id == "load_image":
                found.append(path.name)
    assert found == ["read.py"]


NPY = {
    "not Python": b"{'descr': '<f4' 'fortran_order': False, 'shape': (51v",
    "a negative side": b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 64), }",
    "an endless side": b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 400 + b",), }",
    "deep brackets": b"{'descr': '<f4', 'fortran_order': False, 'shape': " + b"(" * 3000 + b")" * 3000 + b", }",
    "a side that is text": b"{'descr': '<f4', 'fortran_order': False, 'shape': ('a',), }",
    "a list": b"[1, 2, 3]",
    "another key": b"{'descr': '<f4', 'fortran_order': False, 'form': (1,), }",
    "no type": b"{'descr': '<q9', 'fortran_order': False, 'shape': (1,), }",
    "objects": b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "a NUL": b"{'descr': '<f4', 'fortran_order': \0False, 'shape': (1,), }",
    "bytes": b"{'descr': '\xff\xfe', 'fortran_order': False, 'shape': (1,), }",
}


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("how", NPY)
def test_a_damaged_numpy_header(how: str, version: int, tmp_path: Path) -> None:
    header = NPY[how]
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    path = tmp_path / "it.npy"
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + header + bytes(4096))
    with pytest.raises(WeightsError) as caught:
        embeds_shape(path, "it")
    assert caught.value.problems[0].code == "E627"


def test_numpy_files_mutated_at_random(tmp_path: Path) -> None:
    path = tmp_path / "it.npy"
    np.save(path, np.ones(64, np.float32))
    good = path.read_bytes()
    chance = random.Random(12)
    refused = 0
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(6, 128)] = chance.choice(b"()[]{}'\",:;#\\\n0123456789<>|=fiOU \0\xff")
        path.write_bytes(bytes(data))
        try:
            embeds_shape(path, "it")
        except WeightsError:
            refused += 1
    assert refused > 1000
