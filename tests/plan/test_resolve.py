"""Resolving: all that is wrong with the base and the adapters is told at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.safetensors_bytes import whole

from recipe_runner.plan.resolve import resolve
from recipe_runner.problems.problem import RecipeRunnerError, ResolutionError
from recipe_runner.recipe.load import load_document
from recipe_runner.recipe.matrix import variants
from recipe_runner.weights.files import digests
from recipe_runner.weights.files.digests import file_sha256, unhashed

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.problems.problem import Problem

RECIPE = """\
recipe: 1
name: two-mistakes
base: {model: base}
adapters:
  first: {kind: lora, model: first.safetensors}
  second: {kind: lora, model: second.safetensors}
prompts: [{prompt: a bear}]
matrix:
  adapters.second.scale: [0.1, 0.2, 0.3]
"""


def problems(path: Path) -> tuple[Problem, ...]:
    document = load_document(path).document
    with pytest.raises(RecipeRunnerError) as caught:
        resolve(document, variants(document))
    return caught.value.problems


def test_the_mistakes_of_every_adapter_and_the_base_are_told_at_once(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    (tmp_path / "first.safetensors").write_bytes(whole({"a.lora_A.weight": (4, 4)})[:-1])
    (tmp_path / "second.safetensors").write_bytes(b"<html></html>")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    found = problems(recipe)
    assert [(problem.code, problem.line) for problem in found] == [("E410", 5), ("E411", 6)]
    (tmp_path / "base" / "model_index.json").unlink()
    assert [problem.code for problem in problems(recipe)] == ["E416"]


def test_one_mistake_keeps_its_own_class(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("base: {model: base}", "base: {model: ./nowhere}"))
    document = load_document(recipe).document
    with pytest.raises(ResolutionError, match="E401"):
        resolve(document, variants(document))


def test_unhashed_files_are_told_apart_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"1")
    other.write_bytes(b"1")
    assert file_sha256(one) == file_sha256(other)
    monkeypatch.setattr(digests, "_hash_once", None)
    with unhashed():
        assert file_sha256(one).startswith("unhashed:")
        assert file_sha256(one) == file_sha256(one) != file_sha256(other)
