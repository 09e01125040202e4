"""Runs in a real MLflow file store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.command import ROOT
from support.manifests import manifest

from recipe_runner.record.manifest import write_manifest

QUERY = """\
import json, sys
from pathlib import Path
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=Path(sys.argv[1]).absolute().as_uri())
found = []
for experiment in client.search_experiments():
    for run in client.search_runs([experiment.experiment_id]):
        images = [item.path for item in client.list_artifacts(run.info.run_id, "images")]
        files = [item.path for item in client.list_artifacts(run.info.run_id)]
        found.append({"experiment": experiment.name, "id": run.info.run_id, "status": run.info.status,
                      "params": run.data.params, "tags": run.data.tags, "metrics": run.data.metrics,
                      "images": sorted(images), "files": sorted(files)})
print(json.dumps(found))
"""


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run of two variants, prompts and seeds, with files for its pictures."""
    folder = tmp_path / "runs" / "cereal-or-film" / "0123456789ab"
    (folder / "images").mkdir(parents=True)
    made = manifest()
    write_manifest(folder / "manifest.json", made)
    for image in made.images:
        Image.new("RGB", (8, 8)).save(folder / image.path)
    resolved = "recipe: 1\nbase: {model: a/b}\nseeds: [33, 34]\nprompts: [{id: bears, prompt: bears}]\n"
    (folder / "resolved.yaml").write_text(resolved, encoding="utf-8")
    return folder


def python(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # A process of its own: MLflow's imports warn of what other packages deprecate.
    settings = {"PYTHONPATH": str(ROOT), "MLFLOW_ALLOW_FILE_STORE": "true", "DO_NOT_TRACK": "true"}
    environment = {**os.environ, **settings}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_run_is_logged_once_with_a_child_for_each_variant(run_folder: Path, tmp_path: Path) -> None:
    command = ["-m", "recipe_runner", "log", str(run_folder), "--mlflow", "store", "--format", "json"]
    first = python(*command, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (told,) = json.loads(first.stdout)["runs"]
    assert (told["already"], told["images"]) == (False, 8)
    again = python(*command, cwd=tmp_path)
    assert json.loads(again.stdout)["runs"][0] == {**told, "already": True}
    runs: list[dict[str, Any]] = json.loads(python("-c", QUERY, "store", cwd=tmp_path).stdout)
    parent = next(run for run in runs if run["id"] == told["run_id"])
    children = [run for run in runs if run is not parent]
    assert parent["experiment"] == "cereal-or-film"
    assert parent["tags"]["recipe_runner.plan_digest"] == manifest().plan_digest
    assert parent["tags"]["mlflow.source.git.commit"] == "0123456789" * 4
    assert parent["params"]["prompts.0.prompt"] == "bears"
    assert parent["params"]["seeds"] == "[33, 34]"
    assert parent["params"]["sources.adapters.cereal.sha256"] == manifest().sources[0].digest
    assert parent["params"]["environment.torch"] == "2.13.0+cpu"
    assert (parent["metrics"]["images"], parent["images"]) == (8.0, [])
    assert {"manifest.json", "resolved.yaml"} <= {*parent["files"]}
    assert sorted(child["params"]["adapters.cereal.scale"] for child in children) == ["0.0", "0.5"]
    assert {child["tags"]["mlflow.parentRunId"] for child in children} == {parent["id"]}
    assert sorted(len(child["images"]) for child in children) == [4, 4]
    assert {run["status"] for run in runs} == {"FINISHED"}


def test_a_server_that_is_not_there_is_told(run_folder: Path, tmp_path: Path) -> None:
    program = f"""\
import os, sys
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
from recipe_runner.cli.main import main
sys.exit(main(["log", {str(run_folder)!r}, "--mlflow", "http://127.0.0.1:9"]))
"""
    done = python("-c", program, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "error[E871]: MLflow at http://127.0.0.1:9: " in done.stderr


def test_without_mlflow_the_command_says_what_to_install(run_folder: Path, tmp_path: Path) -> None:
    program = f"""\
import sys
sys.modules["mlflow"] = None
from recipe_runner.cli.main import main
sys.exit(main(["log", {str(run_folder)!r}, "--mlflow", "store"]))
"""
    done = python("-c", program, cwd=tmp_path)
    assert done.returncode == 3
    assert "error[E870]: MLflow is not installed" in done.stderr
    assert "pip install mlflow-skinny" in done.stderr
