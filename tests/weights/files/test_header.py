"""The safetensors header reader: what it accepts, and every way of being broken it refuses."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.safetensors_bytes import header_bytes, whole

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.formats import identify_format, require_weights
from recipe_runner.weights.files.header import MAX_HEADER_BYTES, TensorInfo, read_header

ONE = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_header(path)
    (problem,) = caught.value.problems
    return f"{problem.code}: {problem.message.removeprefix(f'{path}: ')}"


def written(tmp_path: Path, content: bytes, name: str = "w.safetensors") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_reads_what_safetensors_writes(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = {"b": torch.zeros(2, 3, dtype=torch.float16), "a": torch.zeros(()), "none": torch.zeros(0, 4)}
    save_file(tensors, path, metadata={"format": "pt"})
    header = read_header(path)
    assert header.shapes == {"b": (2, 3), "a": (), "none": (0, 4)}
    assert header.metadata == {"format": "pt"}
    assert header.size == path.stat().st_size
    assert {name: info.dtype for name, info in header.tensors.items()} == {"b": "F16", "a": "F32", "none": "F32"}
    assert header.data_start + max(info.end for info in header.tensors.values()) == header.size


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580, 0x10480, 0x8B1F])
def test_a_header_whose_length_looks_like_another_format_s_mark_is_read(length: int, tmp_path: Path) -> None:
    # Pickles begin with the bytes 80 02 to 80 05, and gzip files with 1f 8b.
    text = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(header_bytes(text.ljust(length)) + bytes(4))
    assert identify_format(path) == "safetensors"
    assert read_header(path).shapes == {"x": (1,)}


def test_a_header_padded_with_spaces_is_whole(tmp_path: Path) -> None:
    header = read_header(written(tmp_path, header_bytes(json.dumps(ONE).encode() + b"   ") + bytes(24)))
    assert header.tensors == {"a": TensorInfo("F32", (2, 3), 0, 24)}


def entry(**changes: Any) -> bytes:
    return header_bytes({"a": ONE["a"] | changes}) + bytes(24)


BROKEN: dict[str, tuple[bytes, str]] = {
    "cut in its tensors": (header_bytes(ONE) + bytes(23), "its tensors need 24 bytes, but only 23 follow"),
    "cut in its header": (header_bytes(ONE)[:30], "header is 65 bytes long, but only 22 bytes follow: it is cut short"),
    "too long": (header_bytes(ONE) + bytes(25), "1 bytes at its end belong to no tensor"),
    "header of 100 MB": (header_bytes(ONE, length=10**8) + bytes(24), f"at most {MAX_HEADER_BYTES} bytes are read"),
    "header of 2**63": (header_bytes(ONE, length=2**63) + bytes(24), "claims to be 9223372036854775808 bytes long"),
    "not JSON": (header_bytes(b'{"a": }'), "its header is not JSON"),
    "cut JSON": (header_bytes(b'{"a": {"dtype"'), "its header is not JSON"),
    "not UTF-8": (header_bytes(b'{"a\xff": 1}'), "its header is not UTF-8 (byte 3)"),
    "converted as text": (header_bytes(b'{"a\xef\xbf\xbd": 1}'), "it was converted as text"),
    "length converted as text": (b"\xef\xbf\xbd\x01\x00\x00\x00\x00" + b"{}", "it was converted as text"),
    "an array in an object": (header_bytes(b'{"a": []}'), "entry of tensor 'a' is not"),
    "key twice": (header_bytes(b'{"a": 1, "a": 2}'), "has the key 'a' twice"),
    "entry's key twice": (header_bytes(b'{"a": {"dtype": "F32", "dtype": "F16"}}'), "has the key 'dtype' twice"),
    "NaN": (header_bytes(b'{"a": NaN}'), "its header contains NaN"),
    "nested deeply": (header_bytes(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested too deeply"),
    "digits without end": (header_bytes(b'{"a": ' + b"9" * 10_000 + b"}"), "not JSON"),
    "metadata not strings": (header_bytes({"__metadata__": {"a": 1}}), "metadata is not a mapping of strings"),
    "metadata a list": (header_bytes({"__metadata__": []}), "metadata is not a mapping of strings"),
    "unknown dtype": (entry(dtype="F128"), "unknown dtype 'F128'"),
    "dtype a list": (entry(dtype=["F32"]), "unknown dtype"),
    "extra key": (entry(extra=1), "is not {dtype, shape, data_offsets}"),
    "negative size": (entry(shape=[-2, -3]), "an invalid shape"),
    "size true": (entry(shape=[True, 6]), "an invalid shape"),
    "size 6.0": (entry(shape=[6.0]), "an invalid shape"),
    "shape too long": (entry(shape=[1] * 17), "an invalid shape"),
    "shape overflows": (entry(shape=[2**62, 2**62, 8]), "needs"),
    "offsets backwards": (entry(data_offsets=[24, 0]), "needs 24 bytes, not -24"),
    "offsets beyond the file": (entry(data_offsets=[1000, 1024]), "there is a gap before tensor 'a'"),
    "offset -1": (entry(data_offsets=[-1, 23]), "invalid data_offsets"),
    "three offsets": (entry(data_offsets=[0, 12, 24]), "invalid data_offsets"),
    "wrong span": (entry(shape=[2, 2]), "needs 16 bytes, not 24"),
    "half a byte": (entry(dtype="F4", shape=[3]), "needs 1.5 bytes"),
    "overlap": (
        header_bytes({n: {"dtype": "U8", "shape": [4], "data_offsets": [s, s + 4]} for n, s in (("a", 0), ("b", 2))})
        + bytes(6),
        "'b' overlaps the previous tensor",
    ),
    "hole": (
        header_bytes({n: {"dtype": "U8", "shape": [4], "data_offsets": [s, s + 4]} for n, s in (("a", 0), ("b", 6))})
        + bytes(10),
        "there is a gap before tensor 'b'",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_says_what_is_wrong(case: str, tmp_path: Path) -> None:
    content, expected = BROKEN[case]
    said = refusal(written(tmp_path, content))
    assert said.startswith("E410: broken safetensors file: ")
    assert expected in said


FOREIGN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "E412: the file is empty"),
    "two bytes": (b"{}", "E412: the file is too short to hold a tensor"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "E411: the file is a Git LFS pointer, not weights",
    ),
    "annex": (
        b"/annex/objects/SHA256E-s3227336--aa.safetensors\n",
        "E411: the file is a git-annex pointer, not weights",
    ),
    "annex link": (
        b"../../.git/annex/objects/xx/yy/SHA256E-s1--aa/SHA256E-s1--aa\n",
        "E411: the file is a git-annex pointer, not weights",
    ),
    "web page": (b"\n<!DOCTYPE html><html>Sign in</html>", "E411: the file is a web page, not weights"),
    "text": (b"hello, this is a readme file\n", "E412: the file is a text file, not weights"),
    "json array": (b"[1, 2, 3, 4, 5, 6, 7]", "E412: the file is a text file, not weights"),
    "numpy": (b"\x93NUMPY\x01\x00v\x00{'descr'", "E412: the file is a numpy array file, not weights"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(32), "E412: the file is a GGUF file, not weights"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(32), "E412: the file is an image, not weights"),
    "zeros": (bytes(4096), "E412: the file is of an unknown format"),
    "pickle": (
        b"\x80\x02}q\x00.",
        "E406: the name ends in .safetensors, but the file is a pickle, which can run code",
    ),
    "old pickle": (
        b"cos\nsystem\n(S'true'\ntR.",
        "E406: the name ends in .safetensors, but the file is a pickle, which can run code",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_not_safetensors_is_named(case: str, tmp_path: Path) -> None:
    content, expected = FOREIGN[case]
    assert refusal(written(tmp_path, content)) == expected


def test_a_torch_file_is_told_by_its_bytes_and_needs_leave(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    torch.save({"a": torch.zeros(2)}, path)
    assert identify_format(path) == "torch_zip"
    assert refusal(path).startswith("E406: the name ends in .safetensors, but the file is a pickled torch file (zip)")
    assert require_weights(path, allow_pickle=True) == "torch_zip"


def test_what_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing.safetensors") == "E401: file not found"
    assert refusal(tmp_path) == "E415: this is a folder, not a weights file"
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    assert refusal(pipe) == "E415: this is not a regular file"
    dangling = tmp_path / "link.safetensors"
    dangling.symlink_to("../.git/annex/objects/gone")
    assert refusal(dangling) == "E401: file not found"


def test_the_suffix_decides_nothing(tmp_path: Path) -> None:
    assert read_header(written(tmp_path, whole({"a": (2,)}), "w.bin")).shapes == {"a": (2,)}


def mutated(content: bytes, random_: random.Random) -> bytes:
    """The file with one to four random changes, most of them in its header."""
    changed = bytearray(content)
    for _ in range(random_.randint(1, 4)):
        place = random_.randrange(min(len(changed), 400)) if changed else 0
        change = random_.randrange(5)
        if change == 0 and changed:
            changed[place] = random_.randrange(256)
        elif change == 1:
            del changed[place : place + random_.randint(1, 40)]
        elif change == 2:
            changed[place:place] = random_.choice([b"9" * 30, b"[", b'"', b"\xff", b"-1", b"null", b"NaN", b"{}"])
        elif change == 3:
            del changed[random_.randrange(len(changed) + 1) :]
        else:
            changed[:8] = random_.choice([0, 1, len(changed), 2**31, 2**64 - 1]).to_bytes(8, "little")
    return bytes(changed)


def verdict(path: Path) -> str:
    """The code that reading the header raises, or `whole` when its tensors fill the file."""
    try:
        header = read_header(path)
    except WeightsError as error:
        return error.problems[0].code
    spans = sum(info.end - info.start for info in header.tensors.values())
    return "whole" if header.data_start + spans == header.size else "partly read"


def test_no_corruption_does_more_than_raise(tmp_path: Path) -> None:
    random_ = random.Random(20261122)
    content = whole({f"block.{i}.lora_down.weight": (4, 8) for i in range(8)}, metadata={"format": "pt", "é": "ü"})
    path = tmp_path / "w.safetensors"
    refused = 0
    for _ in range(2000):
        path.write_bytes(mutated(content, random_))
        outcome = verdict(path)
        refused += outcome.startswith("E")
        assert outcome in {"whole", "E406", "E410", "E411", "E412"}
    assert refused > 1500
