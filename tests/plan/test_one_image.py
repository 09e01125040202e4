"""One image by itself: `run --only` asks for the very image that the whole recipe asks for, whatever its axes set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command import ROOT, call

from recipe_runner.api import prepare
from recipe_runner.plan.one_image import only_overrides
from recipe_runner.problems.problem import RecipeInvalid

DEMO = ROOT / "recipes/demo"
RECIPE = f"""\
recipe: 1
name: demo
base: {{model: {DEMO}/model}}
adapters: {{outline: {{kind: lora, model: {DEMO}/lora/outline.safetensors}}}}
prompts:
  - prompt: "a star \\u2028 'quoted' \\"twice\\" \\U0001F600"
  - {{id: heart, prompt: a heart, negative_prompt: blurry}}
seeds: [1, 2]
"""
MATRICES = (
    "",
    "matrix: {adapters.outline.scale: [0, 0.5, 1e-7], sampling.guidance_scale: [4.0]}\n",
    "matrix: {'prompts[1].prompt': [a cat, a dog], adapters.outline.scale: [0.25, {unet: 0.5}]}\n",
    "matrix: {seeds: [[1], [2, 3]]}\n",
    "matrix: {prompts.heart.prompt: [a big heart, a small heart]}\n",
)


@pytest.mark.parametrize("matrix", MATRICES)
def test_it_is_the_image_that_the_recipe_asks_for(matrix: str) -> None:
    Path("a.yaml").write_text(RECIPE + matrix)
    whole = prepare("a.yaml")
    for image in whole.plan.images:
        overrides = only_overrides(whole.document, whole.plan, f"images/{image.path}")
        (alone,) = prepare("a.yaml", overrides).plan.images
        assert (alone.key, alone.prompt, alone.seed) == (image.key, image.prompt, image.seed)


def test_an_image_that_is_none_gets_the_nearest_name() -> None:
    Path("a.yaml").write_text(RECIPE)
    whole = prepare("a.yaml")
    with pytest.raises(RecipeInvalid) as caught:
        only_overrides(whole.document, whole.plan, "hart-1.png")
    assert caught.value.problems[0].code == "E832"
    assert "heart-1.png" in caught.value.problems[0].hint


def test_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text(RECIPE)
    answer = call(capsys, "run", "a.yaml", "--only", "nothing.png", "--format", "json")
    assert answer.status == 1
    assert [problem["code"] for problem in json.loads(answer.out)["problems"]] == ["E832"]
