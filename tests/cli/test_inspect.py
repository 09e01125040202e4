"""`recipe-runner inspect`."""

from __future__ import annotations

import hashlib
import json
import pickle
from typing import TYPE_CHECKING

import pytest
from support.command import ROOT, call, process
from support.safetensors_bytes import whole

if TYPE_CHECKING:
    from pathlib import Path

JSON_OUTPUT = ROOT / "recipe_runner/guide/reference/json-output.md"
STEM = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
LORA = {f"{STEM}.lora_A.weight": (4, 2048), f"{STEM}.lora_B.weight": (640, 4)}


def test_one_file_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole(LORA, metadata={"modelspec.title": "Outline"}))
    answer = call(capsys, "inspect", str(path), "--format", "json", "--hash")
    assert answer.status == 0
    tree = json.loads(answer.out)
    assert (tree["kind"], tree["layout"], tree["family"], tree["tensor_count"]) == ("lora", "diffusers", "sdxl", 2)
    assert tree["details"]["ranks"] == {"4": 1}
    assert tree["metadata"] == {"modelspec.title": "Outline"}
    assert tree["reasons"][0] == {
        "kind": "lora",
        "verdict": "match",
        "reason": "1 module has lora factors; down_blocks_#_attentions_#_transformer_blocks_#_attn2_to_k is "
        "640x2048, as in SDXL",
    }
    assert {reason["verdict"] for reason in tree["reasons"][1:]} == {"no"}
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    assert tree["hashes"] == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "autov2": hashlib.sha256(data).hexdigest()[:10],
        "autov3": hashlib.sha256(data[start:]).hexdigest()[:12],
    }


def test_several_files_and_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, odd, bad = (tmp_path / f"{name}.safetensors" for name in "abc")
    good.write_bytes(whole(LORA))
    odd.write_bytes(whole({"a": (2, 2), "b": (3,)}))
    bad.write_bytes(whole(LORA)[:-1])
    answer = call(capsys, "inspect", str(good), str(odd), "--format", "json")
    assert answer.status == 0
    assert [entry["kind"] for entry in json.loads(answer.out)["files"]] == ["lora", "unknown"]
    answer = call(capsys, "inspect", str(good), str(bad))
    assert answer.status == 3
    assert "lora for sdxl in the layout of diffusers" in answer.out
    assert "broken: broken safetensors file: its tensors need" in answer.out


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole(LORA))
    answer = process("inspect", str(path), PYTHONPROFILEIMPORTTIME="1")
    assert answer.status == 0
    imported = {line.rpartition("|")[2].strip() for line in answer.err.splitlines() if line.startswith("import time:")}
    heavy = {"torch", "safetensors", "numpy", "pydantic", "rich", "huggingface_hub", "yaml"}
    assert not imported & heavy


def test_every_object_has_the_same_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    good.write_bytes(whole(LORA))
    bad.write_bytes(b"<html></html>")
    answer = call(capsys, "inspect", str(good), str(bad), "--format", "json")
    first, second = json.loads(answer.out)["files"]
    assert list(first) == list(second)
    documented = JSON_OUTPUT.read_text(encoding="utf-8").partition("| `inspect` | `")[2].partition("`;")[0]
    assert list(first) == documented.split(", ")


def test_what_a_file_says_cannot_harm_terminal_or_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole({**LORA, "\x1b[2Jodd \ud800": (1,)}, metadata={"modelspec.title": "\x1b]0;mine\x07"}))
    answer = call(capsys, "inspect", str(path), "-v")
    assert answer.status == 0
    assert "\x1b" not in answer.out
    tree = json.loads(call(capsys, "inspect", str(path), "--format", "json").out)
    assert tree["metadata"]["modelspec.title"] == "\x1b]0;mine\x07"


def test_numbers_that_json_cannot_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(pickle.dumps({"n": 10**6000, "x": float("nan"), "y": float("-inf"), "z": 2.5}, protocol=2))
    tree = json.loads(call(capsys, "inspect", str(path), "--format", "json").out, parse_constant=pytest.fail)
    assert tree["values"] == {"n": "an integer of 19932 bits", "x": "nan", "y": "-inf", "z": 2.5}


def test_many_alphas_are_told_in_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lora: dict[str, tuple[int, int]] = {}
    for number in range(1, 13):
        stem = f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_{number}_attn2_to_k"
        lora |= {f"{stem}.lora_down.weight": (number, 2048), f"{stem}.lora_up.weight": (640, number)}
    path = tmp_path / "a.safetensors"
    path.write_bytes(whole(lora))
    assert "  ranks: 12 different ones, from 1 to 12\n" in call(capsys, "inspect", str(path)).out
