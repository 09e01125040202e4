"""FaceID from pictures alone, with the real insightface on models made tiny."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import call
from support.faces import PACK, build_face_models, need_insightface, write_face, write_turned
from support.handles import file_source
from support.ip_adapters import tiny_shapes, write_ip_adapter
from support.plain import plain_pipeline

import recipe_runner
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.record.manifest import read_manifest
from recipe_runner.runtime.ip_adapter.faces import FaceFinder
from recipe_runner.sources.face_models import find_face_models

if TYPE_CHECKING:
    from recipe_runner.record.manifest import Manifest

RECIPE = """\
recipe: 1
name: faces
base: {model: model}
adapters:
  face: {kind: ip_adapter, model: faceid.safetensors, image: anna.png}
prompts: [{id: anna, prompt: a red circle}, {id: bob, prompt: a bear, images: {face: bob.png}}]
sampling: {num_inference_steps: 2}
runtime: {device: cpu, threads: 1}
"""
ANNA = ((-6, -4), (3, -4))


@pytest.fixture(scope="module")
def made(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a FaceID adapter and insightface's models."""
    need_insightface()
    folder = tmp_path_factory.mktemp("faces")
    write_ip_adapter(folder / "faceid.safetensors", tiny_shapes("faceid", plain_pipeline(sd15_folder).unet, lora=2), 5)
    build_face_models(folder / "insightface")
    return folder


@pytest.fixture
def folder(made: Path, sd15_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe in a folder of its own, with two faces, and models that a test may change."""
    shutil.copytree(made / "insightface", tmp_path / "insightface")
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "insightface"))
    (tmp_path / "model").symlink_to(sd15_folder)
    shutil.copy(made / "faceid.safetensors", tmp_path)
    write_face(tmp_path / "anna.png", *ANNA)
    write_face(tmp_path / "bob.png", (-2, 4), at=[(40, 50)])
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def run(folder: Path, *overrides: str, runs: str = "runs") -> Manifest:
    """A run; of another folder `runs` nothing is reused."""
    done = recipe_runner.run_recipe(folder / "recipe.yaml", overrides, runs=folder / runs)
    return read_manifest(done.folder / "manifest.json")


def pixels(manifest: Manifest) -> list[str]:
    return [image.pixel_sha256 for image in manifest.images]


def refusal(folder: Path, *overrides: str) -> Any:
    with pytest.raises(RecipeRunnerError) as caught:
        run(folder, *overrides)
    return caught.value.problems[0]


def embedding(path: Path, finder: FaceFinder | None = None) -> torch.Tensor:
    (face,) = (finder or FaceFinder()).find([file_source(path)], find_face_models())
    return face.embedding


def test_the_same_picture_in_any_form_shows_the_same_face(folder: Path) -> None:
    anna = embedding(folder / "anna.png")
    assert anna.shape == (512,)
    assert anna.norm() == pytest.approx(1, abs=1e-6)
    assert not torch.equal(anna, embedding(folder / "bob.png"))
    picture = Image.open(folder / "anna.png")
    for form in (picture.convert("RGBA"), picture.quantize()):
        form.save(folder / f"{form.mode}.png")
        assert torch.equal(embedding(folder / f"{form.mode}.png"), anna), form.mode
    write_turned(folder / "turned.jpg", folder / "anna.png")
    turned = embedding(folder / "turned.jpg")
    assert float(turned @ anna) > 0.98 > float(embedding(folder / "bob.png") @ anna)


def test_what_insightface_sees_does_not_depend_on_what_it_saw_before(folder: Path) -> None:
    finder = FaceFinder()
    models = find_face_models()
    anna, bob = file_source(folder / "anna.png"), file_source(folder / "bob.png")
    first = finder.find([anna, bob], models)
    for face, name in zip(first, ("anna", "bob"), strict=True):
        assert torch.equal(face.embedding, embedding(folder / f"{name}.png"))
    # Found once, however often it is shown.
    assert all(a is b for a, b in zip(finder.find([bob, anna], models), reversed(first), strict=True))


def test_an_image_is_of_the_picture_and_the_models(folder: Path) -> None:
    first = run(folder)
    source = next(source for source in first.sources if source.role == "adapters.face.faces")
    assert source.address == "insightface:buffalo_l"
    assert [file.name for file in source.files] == [f"{PACK}/det_10g.onnx", f"{PACK}/w600k_r50.onnx"]
    assert {"insightface", "onnxruntime", "scikit-image"} <= first.environment.versions.keys()
    assert pixels(run(folder, runs="again")) == pixels(first)
    shutil.copy(folder / "bob.png", folder / "anna.png")
    second = run(folder)
    assert (pixels(second)[0] != pixels(first)[0], pixels(second)[1]) == (True, pixels(first)[1])
    build_face_models(folder / "insightface", seed=1)
    third = run(folder)
    assert third.plan_digest != second.plan_digest
    assert not set(pixels(third)) & set(pixels(second))


def test_not_one_face_is_told_before_anything_is_made(folder: Path) -> None:
    write_face(folder / "bob.png", at=())
    problem = refusal(folder)
    assert (problem.code, problem.line) == ("E652", 6)
    assert problem.message == "bob.png: no face found in the image, expected one"
    assert not list(folder.glob("runs/faces/*/images/*"))
    write_face(folder / "bob.png", at=[(40, 40), (120, 90)])
    assert refusal(folder).message == (
        "bob.png: 2 faces found in the image, expected one (40x40 pixels at 103,72, 40x40 pixels at 23,23)"
    )
    Image.new("RGB", (2000, 1), (255, 0, 0)).save(folder / "bob.png")
    assert refusal(folder).message.startswith("bob.png: no face found")
    # A prompt that is not asked for is nobody's trouble.
    recipe_runner.run_recipe(folder / "recipe.yaml", ["prompts[1].images.face=anna.png"], runs=folder / "runs")


def test_models_that_are_not_whole(folder: Path) -> None:
    root = folder / "insightface" / PACK
    finds, knows = root / "det_10g.onnx", root / "w600k_r50.onnx"
    whole = knows.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>not found</html>"):
        knows.write_bytes(content)
        problem = refusal(folder)
        assert (problem.code, problem.line) == ("E651", 5)
        assert problem.message.startswith(f"{root}: a model cannot be read: ")
        assert "w600k_r50.onnx" in problem.message
    knows.unlink()
    assert refusal(folder).message == f"{root}: there is no model for recognition"
    knows.write_bytes(whole)
    finds.unlink()
    assert refusal(folder).message == f"{root}: there is no model for detection"


def test_nothing_but_the_named_folder_is_looked_into(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pixels(run(folder))
    # insightface would take a folder of that name where one happens to work.
    build_face_models(folder / "elsewhere", seed=3)
    shutil.copytree(folder / "elsewhere" / PACK, folder / "cwd" / "buffalo_l")
    assert pixels(run(folder, runs="beside")) == expected
    monkeypatch.setenv("INSIGHTFACE_HOME", str(folder / "nowhere"))
    problem = refusal(folder, "name=without")
    assert problem.code == "E651"
    assert problem.message == f"adapters.face.faces: insightface's models buffalo_l are not in {folder}/nowhere/{PACK}"
    assert not (folder / "nowhere").exists()


def test_models_that_change_while_a_run_uses_them(folder: Path) -> None:
    finder, models = FaceFinder(), find_face_models()
    finder.find([file_source(folder / "anna.png")], models)
    build_face_models(folder / "insightface", seed=2)
    with pytest.raises(RecipeRunnerError) as caught:
        finder.find([file_source(folder / "bob.png")], models)
    assert caught.value.problems[0].code == "E508"


def test_an_insightface_that_cannot_be_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    problem = refusal(folder)
    assert (problem.code, problem.line) == ("E651", 5)
    assert problem.message.startswith("insightface cannot be imported: ")
    assert "libGL" in problem.hint


def test_the_licence_is_told_and_standard_output_is_left_alone(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answer = call(capfd, "run", str(folder / "recipe.yaml"), "--runs", str(folder / "runs"), "--format", "json")
    assert (answer.status, json.loads(answer.out)["made"]) == (0, 2), answer.err
    assert "their licence allows non-commercial research only" in answer.err
    assert "Applied providers" not in answer.err


def test_a_run_is_checked_against_the_models(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = recipe_runner.run_recipe(folder / "recipe.yaml", runs=folder / "runs")
    check = ("verify", str(done.folder), "--inputs", "--root", str(folder))
    answer = call(capsys, *check)
    assert (answer.status, "verified" in answer.out) == (0, True), answer.err
    (folder / "insightface").rename(folder / "away")
    answer = call(capsys, *check)
    assert (answer.status, "error[E810]: adapters.face.faces: insightface's models" in answer.err) == (3, True)
    assert "unpack buffalo_l.zip" in answer.err
    build_face_models(folder / "insightface", seed=1)
    answer = call(capsys, *check)
    assert (answer.status, f"{PACK}/w600k_r50.onnx: sha256 mismatch" in answer.out + answer.err) == (1, True)


def test_planning_imports_no_insightface(folder: Path) -> None:
    code = (
        "import sys, recipe_runner\n"
        "recipe_runner.compile_recipe('recipe.yaml')\n"
        "print([name for name in ('insightface', 'onnxruntime', 'cv2', 'torch') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_a_batch_shows_each_member_its_own_face(folder: Path) -> None:
    alone = run(folder, "name=alone")
    together = run(folder, "runtime.reproducibility=fast", "runtime.batch_size=2")
    assert len(set(pixels(together))) == 2

    def picture(manifest: Manifest, index: int) -> Any:
        run_folder = folder / "runs" / manifest.name / manifest.plan_digest[:12]
        return np.asarray(Image.open(run_folder / manifest.images[index].path)).astype(int)

    assert all(np.abs(picture(alone, index) - picture(together, index)).max() <= 1 for index in (0, 1))
