"""Every field of every document that names a path: none leads out of its folder, and nothing there is touched."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from support.command import ROOT, call
from support.hub import files, hub
from support.hub_server import HubServer
from support.manifests import manifest
from support.records import PLAN, journal_entry, run_folder, sha256, stored_image

from recipe_runner.lock.file import Lock, lock_from
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.recipe.schema.check import LOCK, MANIFEST, load_schema
from recipe_runner.recipe.types.fields import FileRecord
from recipe_runner.record.manifest import manifest_bytes, manifest_from
from recipe_runner.record.store import Absent
from recipe_runner.sources.access import Access, reach
from recipe_runner.sources.find import find_base, find_component, find_weights
from recipe_runner.sources.hub.fetch import open_repository, require
from recipe_runner.sources.source import Address

__all__ = ["files", "hub"]

MODEL = ROOT / "recipes/demo/model"
LORA = (ROOT / "recipes/demo/lora/outline.safetensors").read_bytes()
URL = "https://host.example/a.safetensors"
BAD = ("/etc/passwd", "../x", "..", "a/../../x", "./x", "a//b", "a/", "\\\\host\\x", "..\\x", "C:/x", "C:x", "a\0b",
       "a\nb", "x\n", "", "y" * 256, "a/" + "é" * 128)  # fmt: skip


def lock_tree(name: str, address: str = "org/name", count: int = 1) -> dict[str, Any]:
    entry = {"name": name, "size": 1, "sha256": "0" * 64}
    return {"lock": 1, "sources": {"base": {"address": address, "files": [entry] * count}}, "libraries": {}}


def codes(data: Mapping[str, Any]) -> list[str]:
    with pytest.raises(RecipeRunnerError) as caught:
        lock_from(json.dumps(data).encode(), "r.lock.yaml")
    assert all(problem.line and problem.path == "r.lock.yaml" for problem in caught.value.problems)
    return [problem.code for problem in caught.value.problems]


@pytest.mark.parametrize("name", BAD)
def test_a_name_in_a_lock(name: str) -> None:
    assert codes(lock_tree(name)) in (["E205"], ["E207"], ["E208"])
    with pytest.raises(ValidationError):
        Lock.model_validate(lock_tree(name))
    with pytest.raises(ValidationError):
        FileRecord(name=name, size=1, sha256="0" * 64)
    # The schema alone says it too, but for bytes, which it cannot count; and Python's `$` forgives a line break.
    schema = Draft202012Validator(load_schema(LOCK))
    assert schema.is_valid(lock_tree(name)) is (name in ("x\n", "a/" + "é" * 128))


@pytest.mark.parametrize("name", ["a/b.safetensors", ".hidden", "a b.safetensors", "ü.safetensors", "y" * 201])
def test_a_url_has_one_plain_name(name: str) -> None:
    assert codes(lock_tree(name, URL)) == ["E205"]
    with pytest.raises(ValidationError):
        Lock.model_validate(lock_tree(name, URL))
    lock_from(json.dumps(lock_tree(name, "org/name")).encode(), "r.lock.yaml")


def test_a_url_has_one_file() -> None:
    assert len(codes(lock_tree("a.safetensors", URL, count=2))) == 1
    with pytest.raises(ValidationError):
        Lock.model_validate(lock_tree("a.safetensors", URL, count=2))


@pytest.mark.parametrize("name", BAD)
def test_a_name_in_a_manifest(name: str) -> None:
    named = json.loads(manifest_bytes(manifest()))
    assert Draft202012Validator(load_schema(MANIFEST)).is_valid(named)
    named["sources"][0]["files"][0]["name"] = name
    pictured = json.loads(manifest_bytes(manifest()))
    pictured["images"][0]["path"] = f"images/{name}"
    for tree in (named, pictured):
        with pytest.raises(RecipeRunnerError, match="E804"):
            manifest_from(json.dumps(tree).encode(), "manifest.json")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "images/../../x", "images/a/b.png", "images/.x", "x.png"])
def test_a_path_in_a_journal(path: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    assert folder.image_fault(path, sha256("x")) == "its path is not an image of this folder"
    with folder.locked():
        entry = journal_entry("a.png", b"x")
        folder.journal.append([replace(entry, path=path)])
    # Images are looked up by the paths that the plan gives them.
    assert [entry.path for entry in folder.journal.read()] == [path]


@pytest.mark.parametrize("change", [{"format": "../x"}, {"format": "/x"}, {"node_key": "../" + "a" * 61}])
def test_a_record_of_the_store(change: Mapping[str, str], tmp_path: Path) -> None:
    store = run_folder(tmp_path).store
    image = stored_image("a.png", b"a")
    store.put(image, b"a")
    record = store.path(image.node_key, "json")
    record.write_text(json.dumps({**json.loads(record.read_text()), **change}))
    found = store.look_up(image.node_key)
    assert isinstance(found, Absent)
    assert found.damaged


def test_a_node_key_in_an_older_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = json.loads(manifest_bytes(manifest()))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"recipe: 1\nname: a\nbase: {{model: {MODEL}}}\nprompts: [{{id: bears, prompt: x}}]\nseeds: [33]\n"
    )
    run = tmp_path / "runs/a" / PLAN[:12]
    run.mkdir(parents=True)
    (tmp_path / "runs/store").mkdir()
    tree["images"][0] |= {"variant": {}, "node_key": "../../../../etc/passwd"}
    (run / "manifest.json").write_text(json.dumps(tree))
    assert call(capsys, "plan", str(recipe), "--runs", str(tmp_path / "runs")).status == 0


@pytest.mark.parametrize("shard", ["../../out.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "x\\y"])
def test_a_shard_in_an_index(shard: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    weights = model / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(tmp_path / "out.safetensors")
    index = model / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": shard}}))
    for call_ in (
        lambda: find_base(Address(str(model)), folder=tmp_path),
        lambda: find_component(Address(str(model), subfolder="unet"), folder=tmp_path),
    ):
        with pytest.raises(RecipeRunnerError) as caught:
            call_()
        assert caught.value.problems[0].code == "E407"


@pytest.mark.parametrize("name", ["../out", "/etc", "a/b", "..", "unet/../../out"])
def test_a_component_in_a_pipeline_index(name: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    tree = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**tree, name: ["diffusers", "UNet2DConditionModel"]}))
    with pytest.raises(RecipeRunnerError) as caught:
        find_base(Address(str(model)), folder=tmp_path)
    assert caught.value.problems[0].code == "E407"


@pytest.mark.parametrize("name", ["../out.safetensors", "/etc/passwd", "a/../../x", "..\\x", "C:\\x", "~/x"])
@pytest.mark.parametrize("key", ["weight_name", "subfolder"])
def test_what_narrows_an_address(name: str, key: str, tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    with pytest.raises(RecipeRunnerError) as caught:
        find_weights(Address("loras", **{key: name}), folder=tmp_path)
    assert caught.value.problems[0].code == "E405"


@pytest.mark.parametrize("name", ["../../../../out.json", "/out.json", "a/../../../../../out.json"])
@pytest.mark.parametrize("headers", [False, True])
def test_a_name_that_the_hub_lists(hub: HubServer, name: str, headers: bool, tmp_path: Path) -> None:  # noqa: FBT001
    hub.commit("org/lora", {"outline.safetensors": LORA, name: b"{}"})
    before = {path for path in tmp_path.rglob("*.json") if path.name == "out.json"}
    with reach(Access(network=True, headers=headers)):
        find_weights(Address("org/lora"), folder=tmp_path)
        with pytest.raises(RecipeRunnerError):
            find_weights(Address("org/lora", weight_name=name), folder=tmp_path)
    assert {path for path in tmp_path.rglob("*.json") if path.name == "out.json"} == before


@pytest.mark.parametrize("headers", [False, True])
def test_a_repository_is_asked_for_no_file_elsewhere(hub: HubServer, headers: bool) -> None:  # noqa: FBT001
    hub.commit("org/lora", {"outline.safetensors": LORA, "../../../out.json": b"{}"})
    with reach(Access(network=True, headers=headers)):
        repository = open_repository("org/lora", None)
        before = len(hub.requests)
        with pytest.raises(RecipeRunnerError, match="E805"):
            require(repository, ["../../../out.json"])
    assert len(hub.requests) == before


@pytest.mark.parametrize("revision", ["../../../out", "/etc/passwd", "a/../../../../out", "..\\out"])
@pytest.mark.parametrize("newest", [False, True])
def test_a_revision_that_would_be_a_file_of_the_cache_elsewhere(
    hub: HubServer,
    revision: str,
    newest: bool,  # noqa: FBT001
) -> None:
    hub.commit("org/lora", {"outline.safetensors": LORA}, branch=revision)
    with reach(Access(network=True, newest=newest)), pytest.raises(RecipeRunnerError, match="E435"):
        find_weights(Address("org/lora", revision=revision), folder=Path())
    assert not hub.requests


def test_a_lock_writes_no_file_elsewhere(
    files: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    body = b"#!/bin/sh\necho owned\n"
    url, victim = files.put("x.safetensors", body), tmp_path / "home" / "bashrc"
    victim.parent.mkdir()
    victim.write_text("my own")
    Path("r.yaml").write_text(
        f'recipe: 1\nname: n\nbase: {{model: {MODEL}}}\nadapters: {{a: {{kind: lora, model: "{url}"}}}}\n'
        "prompts: [{prompt: a star}]\nsampling: {num_inference_steps: 1}\n"
    )
    commands = (["fetch"], ["run", "--runs", "runs"], ["run", "--frozen"], ["run", "--locked"], ["lock"], ["plan"],
                ["lock", "--check"], ["validate", "--weights"])  # fmt: skip
    for name in (str(victim), "../../../home/bashrc"):
        file = {"name": name, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        lock = {"lock": 1, "sources": {"adapters.a": {"address": url, "files": [file]}}, "libraries": {}}
        Path("r.lock.yaml").write_text(yaml.safe_dump(lock))
        for command, *options in commands:
            answer = call(capsys, command, "r.yaml", *options)
            assert answer.status == 1
            assert "r.lock.yaml" in answer.out + answer.err
    assert victim.read_text() == "my own"
    assert not files.requests


def test_a_local_file_whose_name_no_lock_can_hold(tmp_path: Path) -> None:
    (tmp_path / "a\\b.safetensors").write_bytes(LORA)
    with pytest.raises(RecipeRunnerError) as caught:
        find_weights(Address("a\\b.safetensors"), folder=tmp_path)
    assert caught.value.problems[0].code == "E405"
    assert "cannot be written to a lock or manifest" in caught.value.problems[0].message
