"""The manifest in other tools' formats, read by those formats' own libraries."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from support.command import call
from support.manifests import manifest
from support.records import PLAN, run_folder

from recipe_runner.record.manifest import Failure, manifest_bytes


@pytest.fixture
def run() -> Path:
    """A run folder whose images are the ones that its manifest names."""
    folder = run_folder(Path())
    told = manifest()
    with folder.locked():
        images = []
        for image in told.images:
            name = image.path.removeprefix("images/")
            sha256 = folder.write_image(name, image.path.encode())
            images.append(image.model_copy(update={"file_sha256": sha256}))
        told = told.model_copy(update={"images": tuple(images)})
        folder.write("manifest.json", manifest_bytes(told))
        folder.write("recipe.yaml", b"recipe: 1\n")
        folder.write("resolved.yaml", b"recipe: 1\n")
        folder.write("recipe.lock.yaml", b"lock: 1\n")
        folder.write("telemetry.json", b'{"telemetry": 1, "invocations": [{"started": "2026-11-24T10:00:00+00:00"}]}')
    return folder.path


def printed(capsys: pytest.CaptureFixture[str], run: Path, output_format: str) -> Any:
    answer = call(capsys, "manifest", str(run), "--format", output_format)
    assert answer.status == 0
    return json.loads(answer.out)


def test_an_in_toto_statement_is_one_to_the_library(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = printed(capsys, run, "in-toto")
    message = ParseDict(
        {"type" if key == "_type" else key: value for key, value in tree.items()}, statement_pb2.Statement()
    )
    Statement.copy_from_pb(message).validate()
    # ParseDict refuses a field that SLSA provenance does not have.
    provenance = ParseDict(tree["predicate"], provenance_pb2.Provenance())
    assert provenance.run_details.metadata.invocation_id == PLAN
    assert MessageToDict(provenance)["buildDefinition"]["externalParameters"]["overrides"] == [
        "sampling.num_inference_steps=10"
    ]
    (dependency, repository) = provenance.build_definition.resolved_dependencies
    assert dependency.uri == f"pkg:huggingface/ostris/super-cereal-sdxl-lora@{'9876543210' * 4}"
    assert repository.digest["gitCommit"] == "0123456789" * 4
    for subject in tree["subject"]:
        assert hashlib.sha256((run / subject["name"]).read_bytes()).hexdigest() == subject["digest"]["sha256"]
    assert len(tree["subject"]) == 9
    assert printed(capsys, run, "in-toto") == tree


def test_an_ro_crate_is_one_to_the_library(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "manifest", str(run), "--format", "ro-crate", "-o", str(run / "ro-crate-metadata.json"))
    assert (answer.status, answer.out) == (0, f"{run}/ro-crate-metadata.json\n")
    # Other files of the folder need not be told of.
    shutil.copytree(run, "crate")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from rocrate.rocrate import ROCrate
    crate = ROCrate("crate")
    files = {entity.id: entity for entity in crate.data_entities if entity.type == "File"}
    assert sorted(files) == sorted(
        ["manifest.json", "recipe.lock.yaml", "recipe.yaml", "resolved.yaml"]
        + [path.relative_to(run).as_posix() for path in (run / "images").iterdir()]
    )
    for name, entity in files.items():
        data = (run / name).read_bytes()
        assert entity["sha256"] == hashlib.sha256(data).hexdigest()
        assert entity["contentSize"] == str(len(data))
    (action,) = [entity for entity in crate.contextual_entities if entity.type == "CreateAction"]
    assert action["instrument"]["name"] == "recipe_runner"
    assert len(action["result"]) == 8
    assert [entity.id for entity in action["object"]] == ["recipe.yaml", "recipe.lock.yaml", "#source-adapters.cereal"]
    assert crate.root_dataset["datePublished"] == "2026-11-24T10:00:00+00:00"
    assert crate.root_dataset["license"].id == "#licence"
    known = {entity.id for entity in crate.get_entities()}
    graph = json.loads((run / "ro-crate-metadata.json").read_text())["@graph"]
    assert len(known) == len(graph)


def test_a_failed_run_says_so_in_its_crate(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(code="E703", message="out of memory")
    failed = manifest().model_copy(update={"status": "failed", "failure": failure})
    (run / "manifest.json").write_bytes(manifest_bytes(failed))
    action = next(e for e in printed(capsys, run, "ro-crate")["@graph"] if e["@type"] == "CreateAction")
    assert action["actionStatus"] == {"@id": "http://schema.org/FailedActionStatus"}
    assert action["error"] == "out of memory"


def test_the_manifest_itself_is_the_default(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "manifest", str(run)).out.encode() == (run / "manifest.json").read_bytes()
    assert call(capsys, "manifest", "nowhere").status == 3
