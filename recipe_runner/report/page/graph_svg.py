"""The build graph as an SVG drawing: layers from left to right, drawn by no library and no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from recipe_runner.graph.graph import BuildGraph
from recipe_runner.images.labels import TIMES
from recipe_runner.report.escape import one_line
from recipe_runner.report.plan import label_of

MOST_NODES = 40
"""A graph of more nodes is drawn with the nodes that do the same to the same drawn as one."""
_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 30, 48, 12, 8
_LETTERS, _LETTER = 32, 7
_SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Box:
    """What is drawn for one node or several: its label, how many nodes it stands for, and the boxes that it needs."""

    label: str
    count: int
    inputs: tuple[int, ...]


def graph_boxes(graph: BuildGraph) -> list[Box]:
    """One box for each node, or of a large graph for each kind of node, inputs before what uses them."""
    whole = len(graph) <= MOST_NODES
    places: dict[object, int] = {}
    of_node: dict[str, int] = {}
    boxes: list[Box] = []
    for node in graph:
        # Named inputs that are numbered, as those of a batch are, are of one kind.
        inputs = tuple(dict.fromkeys((name.partition(".")[0], of_node[key]) for name, key in node.inputs.items()))
        kind: object = node.key if whole else (node.operation, inputs)
        place = places.setdefault(kind, len(boxes))
        of_node[node.key] = place
        if place == len(boxes):
            label = label_of(node) if whole else node.operation
            boxes.append(Box(label, 1, tuple(dict.fromkeys(number for _, number in inputs))))
        else:
            boxes[place] = Box(boxes[place].label, boxes[place].count + 1, boxes[place].inputs)
    return boxes


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a box stands, in pixels."""

    x: int
    y: int
    width: int


def graph_svg(boxes: Sequence[Box]) -> str:
    """The drawing, as markup that may stand in a page: every text of a recipe in it is escaped."""
    places = _places(boxes)
    width = max((place.x + place.width for place in places), default=0) + 2 * _MARGIN
    height = max((place.y for place in places), default=0) + _HEIGHT + 2 * _MARGIN
    told = f"Build graph of {sum(box.count for box in boxes)} nodes"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [f'<svg class="graph" {size} role="img" aria-label="{told}">']
    parts += [_edge(places[before], place) for box, place in zip(boxes, places, strict=True) for before in box.inputs]
    for box, place in zip(boxes, places, strict=True):
        x, y = place.x + _MARGIN, place.y + _MARGIN
        parts.append(
            f"<g><title>{escape(_told(box))}</title>"
            f'<rect x="{x}" y="{y}" width="{place.width}" height="{_HEIGHT}" rx="6"/>'
            f'<text x="{x + 10}" y="{y + 20}">{escape(_short(box))}</text></g>'
        )
    return "".join([*parts, "</svg>"])


def _told(box: Box) -> str:
    label = one_line(box.label)
    return f"{label} {TIMES}{box.count}" if box.count > 1 else label


def _short(box: Box) -> str:
    text = _told(box)
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


def _places(boxes: Sequence[Box]) -> list[_Place]:
    """The layer of a box is the longest way from a start, the order within it that of its neighbours.

    Source: the layered drawing of Sugiyama, Tagawa and Toda (1981), ordered by barycentres.
    """
    layer: dict[int, int] = {}
    users: dict[int, list[int]] = {}
    for number, box in enumerate(boxes):
        layer[number] = max((layer[before] + 1 for before in box.inputs), default=0)
        for before in box.inputs:
            users.setdefault(before, []).append(number)
    layers: list[list[int]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for number, depth in layer.items():
        layers[depth].append(number)
    rank = {number: float(index) for column in layers for index, number in enumerate(column)}
    highest = max((len(column) for column in layers), default=0)
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        for column in layers if forwards else reversed(layers):
            near = {number: boxes[number].inputs if forwards else users.get(number, ()) for number in column}
            middle = {n: sum(rank[o] for o in near[n]) / len(near[n]) if near[n] else rank[n] for n in column}
            column.sort(key=lambda number, middle=middle: (middle[number], number))  # type: ignore[misc]
            rank.update({number: (highest - len(column)) / 2 + index for index, number in enumerate(column)})
    places: dict[int, _Place] = {}
    x = 0
    for column in layers:
        width = _LETTER * max(len(_short(boxes[number])) for number in column) + 20
        places |= {number: _Place(x, round(rank[number] * (_HEIGHT + _GAP_Y)), width) for number in column}
        x += width + _GAP_X
    return [places[number] for number in range(len(boxes))]


def _edge(start: _Place, end: _Place) -> str:
    x1, y1 = start.x + _MARGIN + start.width, start.y + _MARGIN + _HEIGHT // 2
    x2, y2 = end.x + _MARGIN, end.y + _MARGIN + _HEIGHT // 2
    bend = _GAP_X // 2 + 4
    return f'<path d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>'
