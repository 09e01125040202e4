"""When a run is complete, what of it is counted, and who it is told to, on a real pipeline made tiny."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import ROOT, call, start
from support.read_only import process_without_rights, read_only
from support.tiny import sd15_folder

import recipe_runner
from recipe_runner.canonical import with_digest
from recipe_runner.record.manifest import read_manifest
from recipe_runner.record.telemetry import read_telemetry

__all__ = ["sd15_folder"]

RECIPE = """\
recipe: 1
name: try-it
base: {{model: {model}}}
prompts: [{{id: bear, prompt: a red bear}}, {{id: film, prompt: film photo of a circle}}]
seeds: [1, 2]
sampling: {{num_inference_steps: 1, guidance_scale: 5.0, height: 16, width: 16}}
runtime: {{device: cpu, threads: 1}}
"""
SHARED = "matrix: {prompts.bear.prompt: [a red bear, a blue bear]}\n"
"""The images of the other prompt are the same in both variants: eight images, six of them to make."""


@pytest.fixture
def recipe(sd15_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(model=sd15_folder))
    return path


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below `folder`, with the time of its last change."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def test_a_run_killed_once_its_manifest_stands_is_ended_by_the_next(recipe: Path) -> None:
    running = start("run", str(recipe), "--quiet")
    deadline = time.monotonic() + 240
    while not (found := list(Path("runs/try-it").glob("*/manifest.json"))) and time.monotonic() < deadline:
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    folder = found[0].parent
    # Where the kill came late nothing is missing: what it may have left is taken away.
    for name in ("contact-sheet.png", "report.html", "telemetry.json", ".seal.json"):
        (folder / name).unlink(missing_ok=True)
    again = recipe_runner.run_recipe(recipe)
    assert (again.made, again.reused) == (0, 4)
    assert {"contact-sheet.png", "report.html", "telemetry.json", ".seal.json"} <= {*files(folder)}
    assert [(entry["made"], entry["reused"]) for entry in read_telemetry(folder / "telemetry.json")] == [(0, 4)]


def test_damaged_documents_are_told_and_made_again(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe_runner.run_recipe(recipe)
    before = files(run.folder)
    (run.folder / "contact-sheet.png").unlink()
    for name in ("report.html", "resolved.yaml"):
        (run.folder / name).write_bytes((run.folder / name).read_bytes().replace(b"bear", b"lion"))
    answer = call(capsys, "verify", str(run.folder))
    assert answer.status == 1
    assert "  contact-sheet.png: it is missing\n" in answer.out
    assert "  report.html: it was changed since the run was complete (sha256 differs)\n" in answer.out
    assert "  resolved.yaml: it was changed since the run was complete (sha256 differs)\n" in answer.out
    assert recipe_runner.run_recipe(recipe).made == 0
    assert {name: data for name, (_, data) in files(run.folder).items()} == {
        name: data for name, (_, data) in before.items()
    } | {".lock": (run.folder / ".lock").read_bytes()}
    assert call(capsys, "verify", str(run.folder)).status == 0


def test_a_report_that_is_written_anew_is_no_damage(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe_runner.run_recipe(recipe)
    assert call(capsys, "report", str(run.folder), "--embed").status == 0
    before = files(run.folder)
    assert call(capsys, "verify", str(run.folder)).status == 0
    assert recipe_runner.run_recipe(recipe).made == 0
    assert files(run.folder) == before


@pytest.mark.parametrize(
    "change", [{"environment": {}}, {"pixel_sha256": "0" * 64}, {"inputs": {"denoise.seed": [1]}}, None]
)
def test_a_record_of_the_store_that_was_edited_is_told_and_made_good(
    recipe: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object] | None
) -> None:
    run = recipe_runner.run_recipe(recipe)
    before = read_manifest(run.folder / "manifest.json")
    record = next(Path("runs/store").glob(f"*/{before.images[0].node_key}.json"))
    whole = record.read_bytes()
    record.write_bytes(json.dumps({**json.loads(whole), **change}).encode() if change else whole[:-40])
    # It was there long enough for `gc` to judge it.
    os.utime(record, (0, 0))
    answer = call(capsys, "verify", str(run.folder))
    assert answer.status == 1
    assert "  store: images/bear-1.png: the stored record is broken (" in answer.out
    told = call(capsys, "gc", "--verbose").out
    assert f"{record}: no run can use it: the stored record is broken (" in told
    assert "bear-1.png: to make: the stored record is broken (" in call(capsys, "plan", str(recipe)).out
    shutil.rmtree(run.folder)
    again = recipe_runner.run_recipe(recipe)
    assert (again.made, again.reused) == (1, 3)
    assert read_manifest(again.folder / "manifest.json") == before
    assert record.read_bytes() == whole
    assert call(capsys, "verify", str(run.folder)).status == 0


def test_a_record_forged_with_its_digest_is_no_bug(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe_runner.run_recipe(recipe)
    for record in Path("runs/store").glob("*/*.json"):
        tree = {key: value for key, value in json.loads(record.read_bytes()).items() if key != "record_sha256"}
        record.write_text(json.dumps(with_digest({**tree, "environment": {"versions": 1}})))
    shutil.rmtree(run.folder)
    assert call(capsys, "plan", str(recipe)).status == 0
    assert recipe_runner.run_recipe(recipe).made == 4


@pytest.mark.parametrize("data", ["[" * 20_000, '{"images": [{"seed": NaN, "node_key": "x"}]}', "\ufeff{}", "{}"])
def test_a_broken_manifest_of_another_run_is_no_bug(
    recipe: Path, capsys: pytest.CaptureFixture[str], data: str
) -> None:
    run = recipe_runner.run_recipe(recipe)
    (run.folder / "manifest.json").write_text(data)
    assert call(capsys, "plan", str(recipe), "--set", "seeds=[9]").status == 0
    assert call(capsys, "runs", "list").status == 0
    assert call(capsys, "verify", str(run.folder)).status == 3
    assert recipe_runner.run_recipe(recipe).made == 0


def test_images_are_counted_and_not_what_they_share(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(recipe.read_text() + SHARED)
    answer = call(capsys, "run", str(recipe), "--verbose")
    assert "made already" not in answer.err
    assert [line.split(":")[0] for line in answer.err.splitlines() if line.startswith("image ")] == [
        f"image {number} of 8" for number in range(1, 9)
    ]
    assert "8 made, 0 reused\n" in answer.err
    folder = Path(answer.out.strip())
    assert [(entry["made"], entry["reused"]) for entry in read_telemetry(folder / "telemetry.json")] == [(8, 0)]
    # One of two that share a key is lost with the store: it is made, and the other one stays as it is.
    shutil.rmtree("runs/store")
    (folder / "images/001-film-1.png").unlink()
    answer = call(capsys, "run", str(recipe), "--verbose")
    assert "7 of 8 images are made already\n" in answer.err
    assert [line.split(":")[0] for line in answer.err.splitlines() if line.startswith("image ")] == ["image 8 of 8"]
    assert "1 made, 7 reused\n" in answer.err


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("run recipe.yaml -v 2>&1 >out | head -n 1 >/dev/null", 0),
        ("run recipe.yaml -v 2>/dev/full >out", 0),
        ("run recipe.yaml -v 2>&- >out", 0),
        ("run recipe.yaml -v >/dev/full", 3),
        ("run recipe.yaml -v >&- 2>/dev/full", 3),
    ],
)
def test_what_cannot_be_told_does_not_fail_a_run(recipe: Path, command: str, status: int) -> None:
    answer = subprocess.run(
        ["/usr/bin/env", "bash", "-c", f"{sys.executable} -m recipe_runner {command}; exit ${{PIPESTATUS[0]}}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=recipe.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == status
    (folder,) = (recipe.parent / "runs/try-it").iterdir()
    manifest = read_manifest(folder / "manifest.json")
    assert (manifest.status, len(manifest.images)) == ("complete", 4)
    assert recipe_runner.run_recipe(recipe, runs=recipe.parent / "runs").made == 0
    if status == 0:
        assert Path(recipe.parent / "out").read_text() == f"runs/try-it/{folder.name}\n"
    elif "2>" not in command:
        assert "error[E801]: cannot write to standard output: No space left on device\n" in answer.stderr
        assert "Finished work is kept." in answer.stderr


def test_a_complete_run_is_repeated_where_nothing_can_be_written(recipe: Path) -> None:
    run = recipe_runner.run_recipe(recipe)
    (run.folder / ".lock").unlink()
    before = files(Path("runs"))
    with read_only(Path("runs")):
        assert process_without_rights("-c", "open('runs/x', 'w')").status == 1
        answer = process_without_rights("run", str(recipe))
        assert (answer.status, answer.out) == (0, f"{run.folder}\n"), answer.err
        assert "0 made, 4 reused" in answer.err
        for words in (["verify", str(run.folder)], ["plan", str(recipe)], ["runs", "show", str(run.folder)], ["gc"]):
            answer = process_without_rights(*words)
            assert answer.status == 0, answer.err
        other = process_without_rights("run", str(recipe), "--set", "seeds=[3]")
    assert other.status == 3
    assert "error[E801]" in other.err
    assert files(Path("runs")) == before
