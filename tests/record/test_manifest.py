"""Manifests: equal contents are equal bytes, and what is not a manifest is told, all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.manifests import manifest

from recipe_runner.problems.problem import RecordError
from recipe_runner.record import manifest as module
from recipe_runner.record.manifest import (
    Failure,
    Manifest,
    manifest_bytes,
    manifest_from,
    read_manifest,
    write_manifest,
)


def test_a_manifest_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    assert write_manifest(path, manifest())
    assert read_manifest(path) == manifest()
    failed = manifest().model_copy(
        update={"status": "failed", "failure": Failure(code="E702", message="no memory", node="denoise", line=3)}
    )
    assert manifest_from(manifest_bytes(failed), "m") == failed


def test_text_beyond_ascii_is_written_as_it_is() -> None:
    made = manifest().model_copy(update={"overrides": ("prompts[0].prompt=ein Bär, 熊, 🐻",)})
    assert "ein Bär, 熊, 🐻".encode() in manifest_bytes(made)
    assert manifest_from(manifest_bytes(made), "m") == made


def test_an_unchanged_manifest_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_manifest(path, manifest())
    before = path.stat()
    assert not write_manifest(path, manifest())
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_keys_stand_in_the_order_of_the_types() -> None:
    tree = json.loads(manifest_bytes(manifest()))
    assert list(tree) == list(Manifest.model_fields)
    assert list(tree["images"][0]) == [
        "path",
        "variant",
        "prompt",
        "seed",
        "node_key",
        "file_sha256",
        "pixel_sha256",
        "width",
        "height",
        "environment",
    ]
    assert manifest_bytes(manifest()).endswith(b"}\n")


def test_bytes_are_equal_under_another_hash_seed() -> None:
    program = (
        "import sys; from support.manifests import manifest; from recipe_runner.record.manifest import manifest_bytes\n"
        "sys.stdout.buffer.write(manifest_bytes(manifest()))\n"
    )
    path = f"{Path(module.__file__).parents[2]}:{Path(__file__).parents[1]}"
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    ]
    assert found == [manifest_bytes(manifest())] * 3


def changed(**changes: Any) -> bytes:
    return json.dumps({**json.loads(manifest_bytes(manifest())), **changes}).encode()


def first_image(**changes: Any) -> bytes:
    tree = json.loads(manifest_bytes(manifest()))
    tree["images"][0].update(changes)
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON: Expecting value"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b'{"manifest": NaN}', "NaN is not JSON"),
        (b'{"manifest": 1, "manifest": 1}', "duplicate key"),
        (b"[" * 50_000, "nested too deeply"),
        (b"[]", "the document: Input should be a valid dictionary or instance of Manifest"),
        (changed(manifest=2), "manifest: Input should be 1"),
        (changed(more=1), "more: Extra inputs are not permitted"),
        (changed(status="done"), "status: Input should be 'complete' or 'failed'"),
        (changed(plan_digest="ABC"), "plan_digest: String should match pattern '^[0-9a-f]{64}$'"),
        (first_image(seed=-1), "images[0].seed: Input should be greater than or equal to 0"),
        (first_image(seed="33"), "images[0].seed: Input should be a valid integer"),
        (
            first_image(path="images/../../etc/passwd"),
            "images[0].path: String should match pattern '^images/[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$'",
        ),
    ],
)
def test_what_is_not_a_manifest_is_told(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(data)
    with pytest.raises(RecordError) as caught:
        read_manifest(path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == ("E804", str(path))
    assert problem.message == f"not a manifest: {message}"


def test_broken_json_is_located() -> None:
    with pytest.raises(RecordError) as caught:
        manifest_from(b'{\n  "manifest": 1,\n  oops\n}', "m.json")
    problem = caught.value.problems[0]
    assert (problem.line, problem.column) == (3, 3)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RecordError) as caught:
        manifest_from(changed(name=1, images=None), "m.json")
    assert [problem.message for problem in caught.value.problems] == [
        "not a manifest: name: Input should be a valid string",
        "not a manifest: images: Input should be a valid tuple",
    ]


def test_a_missing_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        read_manifest(tmp_path / "manifest.json")
    assert caught.value.problems[0].code == "E802"


def properties(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    own = [(name, value) for name, value in schema.get("properties", {}).items()]
    return own + [pair for part in schema.get("$defs", {}).values() for pair in properties(part)]


def test_every_property_is_explained() -> None:
    found = properties(Manifest.model_json_schema())
    assert len(found) > 40
    for name, schema in found:
        assert {"title", "description", "examples"} <= schema.keys(), name
