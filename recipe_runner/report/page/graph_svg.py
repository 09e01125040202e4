"""The build graph as an SVG drawing in layers from left to right, without a library or script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from recipe_runner.graph.graph import BuildGraph
from recipe_runner.images.labels import TIMES
from recipe_runner.report.escape import one_line
from recipe_runner.report.plan import label_of
from recipe_runner.report.text import shortened

MOST_NODES = 40
"""In a larger graph, nodes with the same operation and inputs of the same kinds are drawn as one box."""
_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 30, 48, 12, 8
_LETTERS, _LETTER = 32, 7
_SWEEPS = 2


@dataclass(frozen=True, slots=True)
class Box:
    """A box for one or more nodes: its label, the number of nodes, and the boxes that are its inputs."""

    label: str
    count: int
    inputs: tuple[int, ...]


def graph_boxes(graph: BuildGraph) -> list[Box]:
    """One box for each node, or in a large graph for each kind of node; inputs come before their users."""
    whole = len(graph) <= MOST_NODES
    places: dict[object, int] = {}
    of_node: dict[str, int] = {}
    boxes: list[Box] = []
    for node in graph:
        # Numbered inputs, such as those of a batch, are of one kind.
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
class _BoxPlace:
    """The position and width of a box, in pixels."""

    x: int
    y: int
    width: int


def graph_svg(boxes: Sequence[Box]) -> str:
    """The drawing as markup for a page; every text of a recipe in it is escaped."""
    places = _places(boxes)
    width = max((place.x + place.width for place in places), default=0) + 2 * _MARGIN
    height = max((place.y for place in places), default=0) + _HEIGHT + 2 * _MARGIN
    label = f"Build graph of {sum(box.count for box in boxes)} nodes"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    edges, rectangles = [], []
    for box, place in zip(boxes, places, strict=True):
        x, y = place.x + _MARGIN, place.y + _MARGIN
        rectangles.append(
            f"<g><title>{escape(_title(box))}</title>"
            f'<rect x="{x}" y="{y}" width="{place.width}" height="{_HEIGHT}" rx="6"/>'
            f'<text x="{x + 10}" y="{y + 20}">{escape(_short(box))}</text></g>'
        )
        for before in box.inputs:
            edges.append(_edge(places[before], place))  # noqa: PERF401 - beside the rectangles
    return "".join([f'<svg class="graph" {size} role="img" aria-label="{label}">', *edges, *rectangles, "</svg>"])


def _title(box: Box) -> str:
    label = one_line(box.label)
    if box.count > 1:
        label += f" {TIMES}{box.count}"
    return label


def _short(box: Box) -> str:
    return shortened(_title(box), _LETTERS)


def _places(boxes: Sequence[Box]) -> list[_BoxPlace]:
    """The layer of a box is its longest path from a start; its order in the layer is that of its neighbours.

    Source: the layered drawing of Sugiyama, Tagawa and Toda (1981), ordered by barycentres.
    """
    layers = _layers(boxes)
    rank = _ranks(boxes, layers)
    places: dict[int, _BoxPlace] = {}
    x = 0
    for column in layers:
        width = _LETTER * max(len(_short(boxes[number])) for number in column) + 20
        for number in column:
            places[number] = _BoxPlace(x, round(rank[number] * (_HEIGHT + _GAP_Y)), width)
        x += width + _GAP_X
    return [places[number] for number in sorted(places)]


def _layers(boxes: Sequence[Box]) -> list[list[int]]:
    """The boxes by the length of their longest path from a start."""
    depths: list[int] = []
    layers: list[list[int]] = []
    for number, box in enumerate(boxes):
        depth = max((depths[before] + 1 for before in box.inputs), default=0)
        depths.append(depth)
        if depth == len(layers):
            layers.append([])
        layers[depth].append(number)
    return layers


def _ranks(boxes: Sequence[Box], layers: list[list[int]]) -> dict[int, float]:
    """The vertical position of each box; sorts every layer by it."""
    inputs = [box.inputs for box in boxes]
    users: list[list[int]] = [[] for _ in boxes]
    for number, box in enumerate(boxes):
        for before in box.inputs:
            users[before].append(number)
    rank: dict[int, float] = {}
    for column in layers:
        rank.update(zip(column, map(float, range(len(column))), strict=True))
    highest = max(map(len, layers), default=0)
    for _ in range(_SWEEPS):
        for column in layers:
            _sort(column, rank, inputs, highest)
        for column in reversed(layers):
            _sort(column, rank, users, highest)
    return rank


def _sort(column: list[int], rank: dict[int, float], neighbours: Sequence[Sequence[int]], highest: int) -> None:
    """Sort a layer by the mean rank of each box's neighbours, and centre it."""
    middles = {}
    for number in column:
        middles[number] = rank[number]
        near = neighbours[number]
        if near:
            middles[number] = sum(map(rank.__getitem__, near)) / len(near)
    column.sort(key=lambda number: (middles[number], number))
    for index, number in enumerate(column):
        rank[number] = (highest - len(column)) / 2 + index


def _edge(start: _BoxPlace, end: _BoxPlace) -> str:
    x1, y1 = start.x + _MARGIN + start.width, start.y + _MARGIN + _HEIGHT // 2
    x2, y2 = end.x + _MARGIN, end.y + _MARGIN + _HEIGHT // 2
    bend = _GAP_X // 2 + 4
    return f'<path d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>'
