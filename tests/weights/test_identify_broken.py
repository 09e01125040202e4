"""Files that are broken, spoilt, or lie about their lengths."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from random import Random

import pytest
from support.containers import gguf_bytes, torch_zip
from support.safetensors_bytes import whole

from recipe_runner.weights.files.contents import Contents
from recipe_runner.weights.identify.folder import identify
from recipe_runner.weights.identify.identity import Identity, identify_contents, identify_file
from recipe_runner.weights.modules import Shape


def of_shapes(shapes: dict[str, Shape]) -> Identity:
    return identify_contents("x", Contents(format="safetensors", shapes=shapes, dtypes=dict.fromkeys(shapes, "F16")))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"ab", "too short to hold a tensor"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
        (b"PK\x03\x04 cut short", "its zip directory cannot be read"),
        (b"\x80\x02}q\x00(X\x05\x00", "it is cut short"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "an image"),
        ((9).to_bytes(8, "little") + b'{"a": 1}', "its header is 9 bytes long, but only 8 bytes follow"),
    ],
)
def test_what_is_broken_says_so(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    identity = identify_file(path)
    assert told in identity.broken
    assert identity.kind == "unknown"
    assert identity.reasons[0].verdict == "broken"


def test_half_a_lora_and_half_an_ip_adapter_are_broken() -> None:
    stems = [f"lora_unet_down_blocks_{n}_attentions_0_transformer_blocks_0_attn2_to_k" for n in range(3)]
    half = of_shapes({f"{stem}.lora_down.weight": (4, 768) for stem in stems})
    assert (half.kind, half.family) == ("lora", None)
    assert half.broken.startswith("3 of 3 modules lack factors")
    adapter = of_shapes({"ip_adapter.1.to_k_ip.weight": (320, 768), "ip_adapter.1.to_v_ip.weight": (320, 768)})
    assert adapter.kind == "ip_adapter"
    assert "it has no image projection" in adapter.broken


def test_a_lie_in_the_zip_directory_is_no_crash(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    data = bytearray(buffer.getvalue())
    path = tmp_path / "a.pt"
    for place in range(len(data)):
        changed = data.copy()
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        identify_file(path)


def spoil(data: bytes, random: Random) -> bytes:
    """The file with a few bytes changed, cut, repeated or put in."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(changed))
        match random.randrange(5):
            case 0:
                changed[place] ^= 1 << random.randrange(8)
            case 1:
                del changed[place : place + random.randint(1, 40)]
            case 2:
                changed[place:place] = changed[place : place + random.randint(1, 40)]
            case 3:
                changed[place:place] = random.randbytes(random.randint(1, 9))
            case _:
                changed[:8] = random.randrange(2**64).to_bytes(8, "little")
        changed = changed or bytearray(b"x")
    return bytes(changed)


@pytest.mark.parametrize("sort", ["safetensors", "torch_zip", "pickle", "gguf"])
def test_spoilt_files_never_crash_and_are_never_read_past_their_end(tmp_path: Path, sort: str) -> None:
    random = Random(sort)
    stem = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    lora = {f"{stem}.lora_down.weight": (2, 8), f"{stem}.lora_up.weight": (8, 2), f"{stem}.alpha": ()}
    plain = pickle.dumps({"a": {"b": [1, "x", None, 2.5, (True, b"y")]}, "n": 10**30}, protocol=2)
    path = tmp_path / "a.pt"
    data = {
        "safetensors": whole(lora, metadata={"ss_tag_frequency": '{"a": {"b": 1}}'}),
        "torch_zip": torch_zip(path, plain).read_bytes(),
        "pickle": plain,
        "gguf": gguf_bytes({"single_blocks.0.linear1.weight": (4, 8)}, {"general.architecture": "flux"}),
    }[sort]
    for _ in range(400):
        path.write_bytes(spoil(data, random))
        identity = identify_file(path)
        assert identity.reasons


def test_a_lie_about_a_length_reads_no_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    io_counts = Path("/proc/self/io")
    if not io_counts.exists():
        pytest.skip("this system does not count what a process reads")
    heads = (
        (2**31).to_bytes(8, "little") + b"{",
        (100 * 10**6).to_bytes(8, "little") + b"{",
        b"GGUF" + b"\xff" * 30,
        b"\x80\x02X\xff\xff\xff\x7f",
        b"\x80\x04\x8d" + (2**33).to_bytes(8, "little"),
    )
    for head in heads:
        with path.open("wb") as file:
            file.write(head)
            file.truncate(3 * 2**30)
        before = int(io_counts.read_text().split()[1])
        assert identify_file(path).broken
        assert int(io_counts.read_text().split()[1]) - before < 150_000_000


@pytest.mark.parametrize("name", ["x" * 70_000, "a\x00b", "../a.safetensors", "", ".", "\ud800"])
def test_an_index_that_names_no_file_of_its_folder_is_broken(name: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    (found,) = identify(index)
    assert "1 of the 1 shards that it lists are missing" in found.broken
    assert len(found.broken) < 300
