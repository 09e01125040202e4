"""The one way in: files, texts, overrides, warnings, and everything that is wrong at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.cases import VALID

from recipe_runner.problems.problem import RecipeInvalid, RecipeSyntaxError
from recipe_runner.recipe.load import find_problems, load_document, load_recipe
from recipe_runner.recipe.types.recipe import Lora, Recipe, SeedRange

ROOT = Path(__file__).parents[2]
TEXT = "recipe: 1\nname: x\nbase: {model: m}\nprompts: [{prompt: a}]\nsampling: {}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(TEXT)
    return path


def test_a_file_and_its_text_are_the_same_recipe(recipe: Path) -> None:
    assert load_document(recipe).document.tree == load_document(TEXT).document.tree
    assert load_document(str(recipe)).document.source == str(recipe)


def test_warnings_come_beside_the_document(recipe: Path) -> None:
    document, warnings = load_document(recipe)
    assert document.tree["name"] == "x"
    assert [problem.code for problem in warnings] == ["W335"]


def test_overrides_are_checked_like_the_file(recipe: Path) -> None:
    document, _ = load_document(recipe, ["sampling.height=512"])
    assert document.tree["sampling"] == {"height": 512}
    with pytest.raises(RecipeInvalid) as caught:
        load_document(recipe, ["sampling.height=513", "name=Big"])
    assert [(problem.path, problem.code) for problem in caught.value.problems] == [("--set", "E205"), ("--set", "E209")]


@pytest.mark.parametrize("what", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, what: str) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        load_document(tmp_path / what)
    (problem,) = caught.value.problems
    assert problem.code == "E118"
    assert find_problems(tmp_path / what) == (problem,)


def test_text_that_is_not_yaml(recipe: Path) -> None:
    recipe.write_text("a: b: c")
    with pytest.raises(RecipeSyntaxError):
        load_document(recipe)
    assert [problem.code for problem in find_problems(recipe)] == ["E104"]


def test_a_recipe_as_types() -> None:
    everything = next(path for path in VALID if path.stem == "everything")
    recipe = load_recipe(everything, ["seeds={count: 3}"])
    assert isinstance(recipe, Recipe)
    assert list(recipe.adapters) == ["cereal", "film", "mix", "EasyNegative", "look"]
    assert isinstance(recipe.adapters["cereal"], Lora)
    assert recipe.seeds == SeedRange(start=0, count=3)
    assert recipe.base.scheduler is not None
    assert recipe.base.scheduler.class_name == "DPMSolverMultistepScheduler"
    assert recipe.sampling.model_extra == {"crops_coords_top_left": [0, 0]}


def test_validating_imports_nothing_heavy(recipe: Path) -> None:
    program = (
        "import sys\n"
        "from recipe_runner.recipe.load import load_document\n"
        f"load_document({str(recipe)!r}, ['base.pipeline=StableDiffusionPipeline'])\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'peft', 'pydantic', 'rich', 'huggingface_hub', 'PIL', 'numpy',"
        " 'requests', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"
