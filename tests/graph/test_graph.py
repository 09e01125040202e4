"""The build graph: identity, sharing, order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipe_runner.graph.graph import BuildGraph, uses
from recipe_runner.problems.place import Place

ROOT = Path(__file__).parents[2]


def diamond() -> tuple[BuildGraph, dict[str, str]]:
    graph = BuildGraph()
    top = graph.add("load", 1, files={"model": "ab"})
    left = graph.add("left", 1, inputs={"model": top})
    right = graph.add("right", 1, inputs={"model": top})
    bottom = graph.add("join", 1, inputs={"a": left, "b": right})
    return graph, {"top": top, "left": left, "right": right, "bottom": bottom}


def test_equal_nodes_are_one() -> None:
    graph, keys = diamond()
    assert graph.add("left", 1, inputs={"model": keys["top"]}, origin=Place("a.yaml", 3, 1)) == keys["left"]
    assert len(graph) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"operation": "other"},
        {"version": 2},
        {"constants": {"scale": 1}},
        {"constants": {"scale": True}},
        {"constants": {"scale": 2.0}},
        {"files": {"model": "cd"}},
        {"inputs": {}},
    ],
)
def test_whatever_decides_a_result_decides_the_key(change: dict[str, object]) -> None:
    graph = BuildGraph()
    top = graph.add("load", 1)
    same = {"operation": "x", "version": 1, "constants": {"scale": 1.0}, "inputs": {"a": top}, "files": {"model": "ab"}}
    different = same | change
    first = graph.add(**same)  # type: ignore[arg-type]
    assert graph.add(**different) != first  # type: ignore[arg-type]


def test_names_of_inputs_are_part_of_the_key() -> None:
    graph, keys = diamond()
    assert graph.add("join", 1, inputs={"b": keys["left"], "a": keys["right"]}) != keys["bottom"]
    assert graph.add("join", 1, inputs={"b": keys["right"], "a": keys["left"]}) == keys["bottom"]


def test_an_input_must_be_there() -> None:
    with pytest.raises(AssertionError, match="BUG: input model of left is not in the graph"):
        BuildGraph().add("left", 1, inputs={"model": "nowhere"})


def test_order_has_inputs_first_each_once_and_only_what_is_needed() -> None:
    graph, keys = diamond()
    graph.add("unused", 1)
    assert [node.operation for node in graph.order([keys["bottom"]])] == ["load", "left", "right", "join"]
    assert [node.operation for node in graph.order([keys["right"]])] == ["load", "right"]
    assert [node.operation for node in graph.order([keys["right"], keys["bottom"]])] == [
        "load",
        "right",
        "left",
        "join",
    ]


def test_nodes_stand_right_before_their_first_use() -> None:
    graph = BuildGraph()
    texts = [graph.add("encode", 1, constants={"n": n}) for n in range(3)]
    images = [graph.add("denoise", 1, inputs={"text": text}) for text in texts]
    assert [node.operation for node in graph.order(images)] == ["encode", "denoise"] * 3


def test_uses_count_every_mention() -> None:
    graph, keys = diamond()
    assert uses(graph.order([keys["bottom"]])) == {keys["top"]: 2, keys["left"]: 1, keys["right"]: 1}


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=30), st.randoms())
def test_any_graph_is_ordered_inputs_first(shape: list[list[int]], random: object) -> None:
    graph = BuildGraph()
    keys: list[str] = []
    for index, parents in enumerate(shape):
        names = {f"i{n}": keys[p % len(keys)] for n, p in enumerate(parents)} if keys else {}
        keys.append(graph.add("op", 1, constants={"index": index}, inputs=names))
    outputs = list(keys)
    random.shuffle(outputs)  # type: ignore[attr-defined]
    seen: list[str] = []
    for node in graph.order(outputs):
        assert all(key in seen for key in node.inputs.values())
        seen.append(node.key)
    assert sorted(seen) == sorted(set(keys))


def test_keys_are_the_same_in_every_process() -> None:
    code = (
        "from recipe_runner.graph.graph import BuildGraph\n"
        "g = BuildGraph()\n"
        "a = g.add('load', 1, constants={'z': 1, 'a': [1.5, None, True]}, files={'b': 'x', 'a': 'y'})\n"
        "print(g.add('x', 2, inputs={'q': a}))"
    )
    results = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "LC_ALL": locale},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, locale in (("0", "C"), ("1", "C.UTF-8"), ("77", "C"))
    ]
    assert results[0] == results[1] == results[2]
    assert len(results[0].strip()) == 64
