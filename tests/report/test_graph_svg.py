"""The build graph as a drawing: large graphs by kind, boxes apart, inputs to the left of what uses them."""

from __future__ import annotations

import re

import pytest
from support.resolved import base, lora, prompt, recipe, variant

from recipe_runner.graph.graph import BuildGraph
from recipe_runner.plan.compile import compile_plan
from recipe_runner.report.page.graph_svg import MOST_NODES, graph_boxes, graph_svg

BOX = re.compile(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"')
PATH = re.compile(r'<path d="M(\d+) (\d+)C[\d ]+ (\d+) (\d+)"/>')


BASE = base()


def sweep(count: int) -> BuildGraph:
    """The graph of a sweep over a scale: `count` variants, two prompts and two seeds each."""
    variants = [
        variant(index, adapters=(lora(scale=index / 10),), base=BASE, values={"scale": index}) for index in range(count)
    ]
    return compile_plan(recipe(*variants)).graph


@pytest.mark.parametrize("count", [1, 2, 40])
def test_boxes_do_not_overlap_and_edges_go_right(count: int) -> None:
    boxes = graph_boxes(sweep(count))
    drawing = graph_svg(boxes)
    places = [tuple(int(number) for number in found) for found in BOX.findall(drawing)]
    assert len(places) == len(boxes)
    for index, (x, y, width, height) in enumerate(places):
        for other_x, other_y, other_width, other_height in places[:index]:
            apart = (
                x >= other_x + other_width
                or other_x >= x + width
                or y >= other_y + other_height
                or other_y >= y + height
            )
            assert apart
    edges = [tuple(int(number) for number in found) for found in PATH.findall(drawing)]
    assert len(edges) == sum(len(box.inputs) for box in boxes)
    assert all(x1 < x2 for x1, _, x2, _ in edges)


def test_a_large_graph_is_drawn_by_kind() -> None:
    graph = sweep(40)
    assert len(graph) > MOST_NODES
    boxes = graph_boxes(graph)
    assert sum(box.count for box in boxes) == len(graph)
    assert [(box.label, box.count) for box in boxes] == [
        ("load_base", 1),
        ("add_lora", 1),
        ("set_scales", 40),
        ("encode_prompt", 2),
        ("denoise", 160),
        ("decode", 160),
        ("save", 160),
    ]
    assert graph_boxes(graph) == boxes


def test_texts_of_a_recipe_are_escaped() -> None:
    hostile = '"><script>alert(1)</script>'
    graph = compile_plan(recipe(variant(prompts=(prompt("bear", hostile),)))).graph
    drawing = graph_svg(graph_boxes(graph))
    assert "<script>" not in drawing
    assert "&lt;script&gt;" in drawing


def test_nothing_is_drawn_of_nothing() -> None:
    assert BOX.findall(graph_svg([])) == []
