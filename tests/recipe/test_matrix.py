"""The matrix: every combination in order, sharing what does not vary."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from recipe_runner.document.document import parse_document
from recipe_runner.recipe.matrix import variants

HEAD = "recipe: 1\nname: x\nbase: {model: m}\nprompts: [{id: one, prompt: a}, {prompt: b}]\n"


def made(matrix: str) -> Any:
    return variants(parse_document(HEAD + matrix, "a.yaml"))


@pytest.mark.parametrize("matrix", ["", "matrix: {}\n"])
def test_without_a_matrix_there_is_one_variant(matrix: str) -> None:
    (only,) = made(matrix)
    assert only.index == 0
    assert only.values == {}
    assert only.tree == parse_document(HEAD, "a.yaml").tree


def test_the_first_axis_changes_slowest() -> None:
    found = made("matrix: {sampling.guidance_scale: [5.0, 7.5], sampling.eta: [0.0, 0.5, 1.0]}\n")
    assert [variant.index for variant in found] == list(range(6))
    assert [list(variant.values.items()) for variant in found] == [
        [("sampling.guidance_scale", guidance), ("sampling.eta", eta)]
        for guidance in (5.0, 7.5)
        for eta in (0.0, 0.5, 1.0)
    ]
    assert [variant.tree["sampling"] for variant in found] == [
        {"guidance_scale": guidance, "eta": eta} for guidance in (5.0, 7.5) for eta in (0.0, 0.5, 1.0)
    ]
    assert all("matrix" not in variant.tree for variant in found)


def test_an_axis_may_replace_scalars_lists_mappings_and_prompts_by_id() -> None:
    found = made("matrix: {prompts.one: [{prompt: c}], 'prompts[1].prompt': [d], seeds: [[1, 2], {count: 3}]}\n")
    assert found[0].tree["prompts"] == [{"prompt": "c"}, {"prompt": "d"}]
    assert [variant.tree["seeds"] for variant in found] == [[1, 2], {"count": 3}]


def test_trees_share_what_does_not_vary() -> None:
    document = parse_document(
        HEAD + "matrix: {sampling.eta: [0.0, 1.0], sampling.guidance_scale: [1.0, 2.0]}\n", "a.yaml"
    )
    before = copy.deepcopy(document.tree)
    found = variants(document)
    assert len({id(variant.tree["prompts"]) for variant in found}) == 1
    assert document.tree == before


def test_ten_thousand_variants_cost_little() -> None:
    # Counted, not timed: what is made anew for a variant is its root, and the mappings along its axes.
    numbers = ", ".join(str(number) for number in range(100))
    found = made(f"matrix: {{sampling.num_inference_steps: [{numbers}], prompts.one.prompt: [{numbers}]}}\n")
    assert len(found) == 10_000
    assert len({id(variant.tree["sampling"]) for variant in found}) == 100
    assert len({id(variant.tree["base"]) for variant in found}) == 1


def test_a_section_is_told_by_the_values_of_the_axes_that_touch_it() -> None:
    found = made(
        "adapters: {a: {kind: lora, model: a, scale: 1.0}, b: {kind: lora, model: b}}\n"
        "matrix: {adapters.a.scale: [0.5, 1.0], adapters.b: [{kind: lora, model: c}, {kind: lora, model: d}],"
        " prompts.one.prompt: [x, y], base.model: [m, n]}\n"
    )
    places = [("base",), ("prompts",), ("seeds",), ("sampling",), ("adapters",), ("adapters", "a"), ("adapters", "b")]
    for path in places:
        by_section: dict[object, set[str]] = {}
        for variant in found:
            part: object = variant.tree
            for step in path:
                part = part.get(step) if isinstance(part, dict) else None
            by_section.setdefault(variant.section(*path), set()).add(repr(part))
        # One section is one content, and here another section is another content.
        assert all(len(contents) == 1 for contents in by_section.values())
        assert len({repr(contents) for contents in by_section.values()}) == len(by_section)
