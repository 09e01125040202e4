"""`validate --weights` of a recipe with mistakes: what does not depend on them is checked in the same pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import INVALID
from support.command import ROOT, call

from recipe_runner.document.document import parse_document
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.recipe.load import problems_of
from recipe_runner.recipe.valid_part import checkable

DEMO = ROOT / "recipes/demo"
PROMPTS = "prompts: [{id: star, prompt: a star}]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "demo").symlink_to(DEMO)
    return tmp_path


def told(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """Line and code of every problem, as the command tells them."""
    path = folder / "recipe.yaml"
    path.write_text(f"recipe: 1\nname: a\n{text}")
    answer = call(capsys, "validate", "--weights", str(path))
    lines = [line for line in answer.out.splitlines() if line.startswith(str(path))]
    return [(line.split(":")[1], line.partition("[")[2][:4]) for line in lines]


@pytest.mark.parametrize(
    ("mistake", "code"),
    [
        ("  other: {kind: lora, model: bad.pt}\n", "E401"),
        ("  other: {kind: lora, modle: x}\n", "E202"),
        ("  other: {kind: ip_adapter, model: demo/ip_adapter/ip-adapter_shapes.safetensors}\n", "E321"),
        ("  other: {kind: merge, adapters: [it], weights: [1.0, 2.0]}\n", "E319"),
    ],
)
def test_another_adapter_is_checked_all_the_same(
    mistake: str, code: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapters = f"adapters:\n  it: {{kind: lora, model: demo/embeddings/teal.safetensors}}\n{mistake}"
    found = told(folder, f"base: {{model: demo/model}}\n{adapters}{PROMPTS}", capsys)
    assert ("5", "E602") in found
    assert ("6", code) in found


@pytest.mark.parametrize(
    "mistake",
    [
        "seeds: [-1]\n",
        "sampling: {steps: 3}\n",
        "output: {format: gif}\n",
        "runtime: {device: gpu}\n",
        "matrix: {sampling.nothing: [1]}\n",
        "sedes: [1]\n",
    ],
)
def test_a_mistake_beside_the_adapters_hides_nothing(
    mistake: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapters = "adapters:\n  it: {kind: lora, model: demo/embeddings/teal.safetensors}\n"
    found = told(folder, f"base: {{model: demo/model}}\n{adapters}{PROMPTS}{mistake}", capsys)
    assert found[-1] == ("5", "E602")
    assert len(found) == 2


def test_a_pickle_that_is_refused_is_looked_into_all_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pickle

    (folder / "evil.pt").write_bytes(pickle.dumps({"a": print}))
    found = told(
        folder, f"base: {{model: demo/model}}\nadapters:\n  it: {{kind: lora, model: evil.pt}}\n{PROMPTS}", capsys
    )
    assert found == [("5", "E330"), ("5", "E607")]


def test_a_base_in_doubt_is_all_that_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapters = "adapters:\n  it: {kind: lora, model: demo/embeddings/teal.safetensors}\n"
    found = told(folder, f"base: {{model: demo/model, variants: fp16}}\n{adapters}{PROMPTS}", capsys)
    assert found == [("3", "E201")]


def test_one_mistake_is_told_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapters = "adapters:\n  it: {kind: lora, model: 'http://example.com/a.safetensors'}\n"
    assert told(folder, f"base: {{model: demo/model}}\n{adapters}{PROMPTS}", capsys) == [("5", "E405")]


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_what_is_left_is_valid_and_stands_where_it_stood(path: Path) -> None:
    try:
        document = parse_document(path.read_bytes(), str(path))
    except RecipeRunnerError:
        return
    left = checkable(document)
    if left is not None:
        assert not [problem for problem in problems_of(left) if problem.severity == "error"]
        assert all(
            left.place((name,), key=True) == document.place((name,), key=True)
            for name in left.tree
            if name != "runtime"
        )


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["adapters", "prompts", "seeds", "sampling", "matrix", "base", "x"]),
        st.recursive(
            st.none() | st.integers(-9, 9) | st.text("ab<", max_size=3),
            lambda each: (
                st.lists(each, max_size=2)
                | st.dictionaries(st.sampled_from(["kind", "a", "model", "prompt"]), each, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_whatever_is_wrong_something_or_nothing_is_left(tree: dict[str, object]) -> None:
    import json

    text = json.dumps({"recipe": 1, "name": "a", "base": {"model": "m"}, "prompts": [{"prompt": "a"}], **tree})
    left = checkable(parse_document(text, "recipe.yaml"))
    assert left is None or not [problem for problem in problems_of(left) if problem.severity == "error"]
