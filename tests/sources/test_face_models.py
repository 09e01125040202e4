"""insightface's models as a source: found, pinned, and missed, with nothing of insightface imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.command import ROOT, call

import recipe_runner
from recipe_runner.api import PrepareOptions, prepare
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.sources import face_models
from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.plan.compile import Plan

DEMO = ROOT / "recipes" / "demo"
RECIPE = f"""\
recipe: 1
name: faces
base: {{model: {DEMO}/model}}
adapters:
  face:
    kind: ip_adapter
    model: {DEMO}/ip_adapter/ip-adapter-faceid_shapes.safetensors
    image: {DEMO}/inputs/yellow-star.png
prompts: [{{prompt: a red star}}]
runtime: {{device: cpu}}
"""
ROLE = "adapters.face.faces"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe that needs faces found, where insightface is installed and its models are not here."""
    monkeypatch.setattr(face_models, "_is_installed", lambda _: True)
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def write_models(root: Path, content: bytes = b"model") -> Path:
    """Something that lies where a model of insightface does; returns it."""
    path = root / "models" / "buffalo_l" / "w600k_r50.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def plan_of(recipe: Path) -> Plan:
    return recipe_runner.compile_recipe(recipe)


def lacking(recipe: Path, *, offline: bool = False) -> tuple[str, str, str]:
    """What a run says that stops before it does anything; the plan goes on."""
    assert not isinstance(plan_of(recipe).sources()[ROLE], Source)
    with pytest.raises(RecipeRunnerError) as caught:
        recipe_runner.run_recipe(recipe, runs=recipe.with_name("runs"), offline=offline)
    assert not recipe.with_name("runs").exists()
    (problem,) = caught.value.problems
    return problem.code, problem.message, problem.hint


@pytest.mark.parametrize("package", ["insightface", "onnxruntime"])
def test_a_package_that_is_not_installed(package: str, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_models(recipe.parent)
    monkeypatch.setattr(face_models, "_is_installed", lambda name: name != package)
    code, message, hint = lacking(recipe)
    assert code == "E651"
    assert message == f"{ROLE}: finding a face in an image needs {package}, which is not installed"
    assert "pip install 'recipe-runner[faceid]'" in hint


def test_a_folder_of_that_name_is_no_package(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("INSIGHTFACE_HOME", str(recipe.parent))
    write_models(recipe.parent)
    # No package is called so, and the folder would be one to Python.
    monkeypatch.setattr(face_models, "_PACKAGES", ("insightface_models",))
    (recipe.parent / "insightface_models").mkdir()
    monkeypatch.syspath_prepend(str(recipe.parent))
    assert lacking(recipe)[1].endswith("needs insightface_models, which is not installed")


def test_nothing_is_fetched_for_a_run_without_them(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace(f"{DEMO}/model", "nobody/nothing"), encoding="utf-8")
    # Any connection would fail the test otherwise.
    with pytest.raises(RecipeRunnerError) as caught:
        prepare(recipe, options=PrepareOptions(network=True))
    assert [problem.code for problem in caught.value.problems] == ["E651"]


@pytest.mark.parametrize("offline", [False, True])
def test_models_that_are_not_here(recipe: Path, *, offline: bool) -> None:
    code, message, hint = lacking(recipe, offline=offline)
    assert code == "E651"
    assert message == f"{ROLE}: insightface's models buffalo_l are not in {recipe.parent}/models/buffalo_l"
    assert "their licence allows non-commercial research only" in hint


def test_they_lie_where_insightface_has_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("INSIGHTFACE_HOME", raising=False)
    assert face_models.models_root() == tmp_path / ".insightface"
    monkeypatch.setenv("INSIGHTFACE_HOME", "~/faces")
    assert face_models.models_root() == tmp_path / "faces"


def test_their_contents_are_part_of_a_plan(recipe: Path) -> None:
    models = write_models(recipe.parent)
    assert plan_of(recipe).sources()[ROLE].address == "insightface:buffalo_l"
    plans = [plan_of(recipe).digest]
    models.write_bytes(b"another")
    plans.append(plan_of(recipe).digest)
    # Version 2 of insightface reads from a manifest how to prepare pictures.
    models.with_name("manifest.json").write_text("{}")
    plans.append(plan_of(recipe).digest)
    # It never reads this.
    models.with_name("readme.txt").write_text("faces")
    assert len(set(plans)) == 3
    assert plan_of(recipe).digest == plans[-1]


def test_a_lock_pins_them_and_no_command_fetches_them(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str, status: int = 0) -> str:
        answer = call(capsys, *words, str(recipe))
        assert answer.status == status, answer.err
        return answer.out + answer.err

    assert f"error[E651]: {ROLE}: insightface's models" in said("lock", "--offline", status=3)
    models = write_models(recipe.parent)
    assert f"{ROLE}: locked" in said("lock", "--offline")
    assert "all here" in said("fetch")
    models.rename(recipe.with_name("away"))
    assert said("fetch", status=3).count("error[E651]") == 1
    # A pull request is checked where the models are not.
    assert "is current" in said("lock", "--check")
    assert f"provisional: not on this machine yet: {ROLE}\ninsightface's models" in said("plan")
    assert f"warning[W762]: {ROLE} was not checked: insightface's models" in said("validate", "--weights")
    models.write_bytes(b"another")
    told = said("lock", "--check", status=1)
    assert f"error[E430]: {ROLE}: models/buffalo_l/w600k_r50.onnx: sha256 mismatch" in told
