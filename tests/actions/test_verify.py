"""A run is checked against its manifest, its lock, and itself made again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.command import Answer, call
from support.tiny import sd15_folder

import recipe_runner
from recipe_runner.actions.verify import check_inputs, origin_of
from recipe_runner.record.manifest import Manifest, manifest_bytes, read_manifest
from recipe_runner.sources.access import NoMeter

__all__ = ["sd15_folder"]

RECIPE = """\
recipe: 1
name: try-it
base: {model: model}
prompts: [{id: bear, prompt: a red bear}]
seeds: [1, 2]
sampling: {num_inference_steps: 2, guidance_scale: 5.0, height: 16, width: 16}
runtime: {device: cpu, threads: 1}
"""


@pytest.fixture(scope="module")
def made(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, its model and a run of it. Copy it to change it."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(sd15_folder, folder / "model")
    (folder / "recipe.yaml").write_text(RECIPE)
    recipe_runner.run_recipe(folder / "recipe.yaml", ["seeds=[1, 2]"], runs=folder / "runs")
    return folder


@pytest.fixture
def run(made: Path) -> Path:
    """A copy of all of it, in the working directory; the run's folder."""
    for entry in made.iterdir():
        (shutil.copytree if entry.is_dir() else shutil.copy)(entry, entry.name)
    (folder,) = Path("runs/try-it").iterdir()
    return folder


def verify(capsys: pytest.CaptureFixture[str], run: Path, *words: str) -> Answer:
    return call(capsys, "verify", str(run), *words)


def rewrite(run: Path, **changes: Any) -> Manifest:
    manifest = read_manifest(run / "manifest.json").model_copy(update=changes)
    (run / "manifest.json").write_bytes(manifest_bytes(manifest))
    return manifest


def test_a_run_is_what_its_manifest_says(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = verify(capsys, run)
    assert (answer.status, answer.out) == (0, f"files: 6 unchanged\n{run}: verified\n")
    moved = Path("elsewhere")
    shutil.copytree(run, moved)
    Path("recipe.yaml").write_text("edited: since\n")
    assert verify(capsys, moved).status == 0


def strip_metadata(path: Path) -> None:
    with Image.open(path) as image:
        pixels = np.asarray(image)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "images/bear-1.png").unlink(), "images/bear-1.png: it is missing"),
        (lambda run: (run / "images/bear-1.png").write_bytes(b"x"), "images/bear-1.png: it was changed"),
        (
            lambda run: strip_metadata(run / "images/bear-1.png"),
            "images/bear-1.png: the file was changed, but its pixels were not",
        ),
        (
            lambda run: shutil.copy(run / "images/bear-1.png", run / "images/c.png"),
            "images/c.png: no image of",
        ),
        (lambda run: (run / "recipe.yaml").write_text("x"), "recipe.yaml: it was changed (sha256 differs)"),
        (lambda run: (run / "recipe.lock.yaml").unlink(), "recipe.lock.yaml: it is missing"),
        (lambda run: rewrite(run, name="other"), "manifest.json: its images and node keys do not match its plan"),
        (lambda run: rewrite(run, status="failed"), "manifest.json: the run failed"),
    ],
)
def test_whatever_was_changed_is_told(
    run: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], said: str
) -> None:
    damage(run)
    answer = verify(capsys, run)
    assert answer.status == 1
    assert f"  {said}" in answer.out
    assert answer.out.endswith(f"{run}: differs\n")
    told = json.loads(verify(capsys, run, "--format", "json").out)
    assert told["verdict"] == "differs"
    assert sum(each["fault"] is not None for each in told["files"]) == 1


def test_what_is_no_run_could_not_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs").mkdir()
    answer = verify(capsys, Path("runs"))
    assert (answer.status, "error[E802]" in answer.err) == (3, True)
    Path("runs/manifest.json").write_text("{}")
    assert "error[E804]" in verify(capsys, Path("runs")).err


def test_inputs_are_compared_with_the_lock(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = verify(capsys, run, "--inputs")
    assert answer.status == 0, answer.err
    moved = Path("far/copied")
    shutil.copytree(run, moved)
    lost = verify(capsys, moved, "--inputs")
    assert lost.status == 3
    assert "error[E810]: base: " in lost.err
    assert "--root" in lost.err
    assert verify(capsys, moved, "--inputs", "--root", ".").status == 0
    weights = Path("model/unet/diffusion_pytorch_model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    Path("model/unet/config.json").unlink()
    answer = verify(capsys, run, "--inputs")
    assert answer.status == 1
    file = "unet/diffusion_pytorch_model.safetensors"
    assert f"base: model/{file}: {file}: sha256 mismatch: got " in answer.out
    assert "base: model/unet/config.json: unet/config.json is missing" in answer.out


def test_inputs_in_lists_and_on_axes_are_found_too() -> None:
    files = {"a/w.bin": b"one", "b/w.bin": b"two", "in/left.png": b"left", "in/heart.png": b"heart"}
    for name, data in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(data)
    run = Path("runs/x/0123456789ab")
    run.mkdir(parents=True)
    roles = {
        "base": "a/w.bin",
        "base#2": "b/w.bin",
        "adapters.h.mask[0]": "in/left.png",
        "prompts.p.images.h": "in/heart.png",
    }
    sources = "".join(
        f"  '{role}': {{address: {name}, files: [{{name: {Path(name).name}, size: {len(files[name])}, "
        f"sha256: {hashlib.sha256(files[name]).hexdigest()}}}]}}\n"
        for role, name in roles.items()
    )
    (run / "recipe.lock.yaml").write_text(f"lock: 1\nsources:\n{sources}")
    (run / "resolved.yaml").write_text("recipe: 1\nname: x\nbase: {model: ../../../a/w.bin}\n")
    origin = origin_of(run)
    checked, missing = check_inputs(run, origin, NoMeter())
    assert ([each.fault for each in checked], missing) == ([None] * 4, [])
    Path("in/left.png").write_bytes(b"right")
    Path("b/w.bin").unlink()
    checked, missing = check_inputs(run, origin, NoMeter())
    assert [each.subject for each in checked if each.fault] == ["adapters.h.mask[0]: in/left.png"]
    assert [problem.code for problem in missing] == ["E810"]


def test_made_again_it_is_identical_wherever_the_folder_lies(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = Path("far/copied")
    shutil.copytree(run, moved)
    Path("recipe.yaml").write_text("edited: since\n")
    # A picture that was lost is still known by its digest.
    (moved / "images/bear-2.png").unlink()
    answer = verify(capsys, moved, "--rerun", "--root", ".", "--images", "bear-2.png", "--format", "json")
    told = json.loads(answer.out)
    assert [(each["path"], each["verdict"]) for each in told["rerun"]] == [("images/bear-2.png", "identical")]
    assert answer.status == 1  # for the picture that is missing
    assert not list(Path("far").rglob("*.npy"))
    none = verify(capsys, moved, "--rerun", "--images", "cat*")
    assert (none.status, "error[E811]: the run has no image cat*" in none.err) == (2, True)


def test_made_with_other_versions_it_is_within_tolerance_and_says_why(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As if it had been made where the last bits come out otherwise.
    with Image.open(run / "images/bear-1.png") as image:
        pixels = np.asarray(image).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(run / "images/bear-1.png")
    manifest = read_manifest(run / "manifest.json")
    first = manifest.images[0].model_copy(update={"pixel_sha256": "0" * 64})
    data = (run / "images/bear-1.png").read_bytes()
    first = first.model_copy(update={"file_sha256": hashlib.sha256(data).hexdigest()})
    versions = {**manifest.environment.versions, "torch": "2.1.0"}
    environment = manifest.environment.model_copy(update={"versions": versions, "device": "cpu of another kind"})
    rewrite(run, images=(first, *manifest.images[1:]), environment=environment)
    weights = Path("model/unet/diffusion_pytorch_model.safetensors")
    answer = verify(capsys, run, "--rerun", "--format", "json")
    told = {each["path"]: each for each in json.loads(answer.out)["rerun"]}
    assert told["images/bear-2.png"]["verdict"] == "identical"
    close = told["images/bear-1.png"]
    assert (close["verdict"], close["max_abs"]) == ("within tolerance", 1)
    assert any(reason.startswith("environment.versions.torch: 2.1.0 → ") for reason in close["reasons"])
    assert any(reason.startswith("environment.device: cpu of another kind → ") for reason in close["reasons"])
    # And with other weights it is another picture.
    tensor = bytearray(weights.read_bytes())
    for place in range(len(tensor) - 4000, len(tensor), 4):
        tensor[place + 3] ^= 0x80
    weights.write_bytes(tensor)
    answer = verify(capsys, run, "--rerun", "--images", "images/bear-2.png")
    assert answer.status == 1
    assert "images made again: 0 identical, 0 within tolerance, 1 different" in answer.out
    assert "base: other contents (unet/diffusion_pytorch_model.safetensors)" in answer.out


def test_what_cannot_be_made_again_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("model/vae")
    answer = verify(capsys, run, "--rerun")
    assert answer.status == 3
    assert "error[E416]" in answer.err
