"""A ComfyUI graph: nodes and links, and the API format, which holds them as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recipe_runner.exchange.importers.foreign_json import mapping

Link = tuple[str, int]
_LINK = 2


@dataclass(frozen=True, slots=True)
class ComfyNode:
    """A node: its class (`kind`) and its inputs, where a link is a `(node, output)` tuple."""

    key: str
    kind: str
    inputs: Mapping[str, Any]

    def links(self) -> Iterator[tuple[str, Link]]:
        """The inputs that are links, by name."""
        for name, value in self.inputs.items():
            if isinstance(value, tuple):
                yield name, value


Graph = Mapping[str, ComfyNode]


def api_graph(tree: Mapping[str, Any]) -> Graph | None:
    """The graph of an object in API format; None for anything else."""
    nodes: dict[str, Mapping[str, Any]] = {}
    for key, value in tree.items():
        node = mapping(value)
        if isinstance(node.get("class_type"), str):
            nodes[str(key)] = node
    if not nodes:
        return None
    return {key: ComfyNode(key, node["class_type"], _inputs(node, nodes)) for key, node in nodes.items()}


def _inputs(node: Mapping[str, Any], nodes: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a node, where `[node, output]` is a link if there is such a node."""
    inputs: dict[str, Any] = {}
    for name, value in mapping(node.get("inputs")).items():
        inputs[str(name)] = value
        if isinstance(value, list) and len(value) == _LINK and str(value[0]) in nodes and isinstance(value[1], int):
            inputs[str(name)] = (str(value[0]), value[1])
    return inputs
