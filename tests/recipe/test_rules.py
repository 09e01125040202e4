"""The recipes in `tests/recipes`: valid ones have no problem, and every invalid one tells exactly what is expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cases import INVALID, VALID, problems_of_case, told

from recipe_runner.document.document import parse_document
from recipe_runner.recipe.load import problems_of
from recipe_runner.recipe.rules import check_rules

HEAD = "recipe: 1\nname: case\n"
REST = "prompts: [{prompt: bears, prompt_2: foxes}]\n"


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_recipe_has_no_problem(path: Path) -> None:
    assert told(path) == ""


def test_there_are_enough_cases() -> None:
    assert len(INVALID) >= 80


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_recipe_tells_exactly_this(path: Path) -> None:
    # After a change that is wanted: PYTHONPATH=.:tests python tests/support/cases.py, and read the difference.
    assert told(path) == path.with_suffix(".txt").read_text(encoding="utf-8")
    for problem in problems_of_case(path):
        assert problem.line >= 1
        assert problem.column >= 1


def test_the_pipeline_class_is_read_from_a_base_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    document = parse_document(HEAD + "base: {model: model}\n" + REST, str(tmp_path / "recipe.yaml"))
    messages = [problem.message for problem in check_rules(document)]
    assert messages == ["`StableDiffusionPipeline` does not take `prompt_2`"]


@pytest.mark.parametrize("index", ["not json", "[]", '{"_class_name": 3}', '{"_class_name": "Own"}', "[" * 100_000, ""])
def test_a_model_index_that_says_nothing_is_no_problem_of_the_recipe(tmp_path: Path, index: str) -> None:
    (tmp_path / "model_index.json").write_text(index)
    document = parse_document(HEAD + "base: {model: .}\n" + REST, str(tmp_path / "recipe.yaml"))
    assert problems_of(document) == ()


def test_an_axis_may_give_what_the_recipe_itself_lacks() -> None:
    text = (
        HEAD + "base: {model: m}\nadapters: {look: {kind: ip_adapter, model: l}}\n" + REST
        + "matrix: {adapters.look.image: [a.png, b.png]}\n"
    )  # fmt: skip
    assert problems_of(parse_document(text, "a.yaml")) == ()


def test_the_count_of_images_follows_axes_over_seeds_and_prompts() -> None:
    text = (
        HEAD + "base: {model: m}\n" + REST + "seeds: [1]\nruntime: {max_images: 29}\nmatrix:\n"
        "  seeds: [[1], [2, 3], {count: 3}]\n  sampling.guidance_scale: [1.0, 2.0, 3.0, 4.0, 5.0]\n"
    )
    (problem,) = problems_of(parse_document(text, "a.yaml"))
    assert problem.message == "the recipe makes 30 images; `runtime.max_images` allows 29"
    assert problems_of(parse_document(text.replace("29", "30"), "a.yaml")) == ()


def test_rules_pass_over_what_has_the_wrong_shape() -> None:
    text = (
        "base: [1]\n"
        "adapters: {a: 1, b: {kind: [x]}, m: {kind: merge, adapters: 3, weights: {}}, i: {kind: ip_adapter}}\n"
        "prompts: {a: 1}\nseeds: x\nsampling: 3\nmatrix: [1]\nruntime: 5\n"
    )
    document = parse_document(text, "a.yaml")
    assert all(problem.line for problem in check_rules(document))


@pytest.mark.parametrize(
    ("values", "twice"),
    [
        ("[true, 1]", 0),
        ("[0, false]", 0),
        ("[1, 1.0]", 1),
        ("[true, true]", 1),
        ("['1', 1]", 0),
        ("[[1], [1.0]]", 0),
        ("[{a: 1, b: 2}, {b: 2, a: 1}]", 1),
        ("[null, null]", 1),
    ],
)
def test_equal_numbers_are_one_value_of_an_axis_and_true_is_not_1(values: str, twice: int) -> None:
    head = f"{HEAD}base: {{model: demo/model}}\nprompts: [{{prompt: bears}}]\n"
    text = f"{head}matrix: {{base.scheduler.config.x: {values}}}\n"
    codes = [problem.code for problem in check_rules(parse_document(text, "recipe.yaml"))]
    assert codes.count("W332") == twice
