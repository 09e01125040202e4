"""ComfyUI's graph: nodes and links, and the API format that holds them as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recipe_runner.exchange.importers.foreign_json import mapping

Link = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ComfyNode:
    """A node: its class, and its inputs, where a link is a `(node, output)` tuple."""

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
    nodes = {str(key): mapping(value) for key, value in tree.items()}
    found = {key: node for key, node in nodes.items() if isinstance(node.get("class_type"), str)}
    if not found:
        return None
    return {key: _of_api(key, node, found) for key, node in found.items()}


def _of_api(key: str, node: Mapping[str, Any], nodes: Mapping[str, Any]) -> ComfyNode:
    inputs: dict[str, Any] = {}
    for name, value in mapping(node.get("inputs")).items():
        link = isinstance(value, list) and len(value) == 2 and str(value[0]) in nodes and isinstance(value[1], int)  # noqa: PLR2004
        inputs[str(name)] = (str(value[0]), value[1]) if link else value
    return ComfyNode(key, node["class_type"], inputs)
