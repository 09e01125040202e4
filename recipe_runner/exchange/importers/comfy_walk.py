"""Follow the links of a ComfyUI graph from its sampler backwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from recipe_runner.exchange.importers.comfy_graph import ComfyNode, Graph, Link
from recipe_runner.exchange.importers.foreign_json import first_of

_VALUES = ("value", "int", "float", "number", "seed", "noise_seed", "string", "text", "Number", "Value", "INT")
"""Inputs of a node that only holds a value."""
_HELPERS = ("noise", "sampler", "sigmas", "guider")
"""Inputs of SamplerCustomAdvanced and its relatives, whose values are in nodes beside it."""
_BYPASSED = "bypassed"
_REROUTES = ("Reroute", "PrimitiveReroute", "Reroute (rgthree)", _BYPASSED)
_WITHOUT_EFFECT = (
    "SaveImage", "PreviewImage", "VAEDecode", "VAEDecodeTiled", "Note", "MarkdownNote", "Reroute", "PrimitiveNode",
    "LoadVAE", "Image Save", "SaveImageWebsocket",
)  # fmt: skip
_MOST_SENTENCES = 40
_MOST_HOPS = 1_000
_MOST_HELD = 20


@dataclass
class ComfyWalk:
    """One graph. `used` are the keys of the nodes that the recipe holds, `lost` says what it does not do."""

    graph: Graph
    used: set[str] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)

    def of_kinds(self, *kinds: str) -> list[ComfyNode]:
        """The nodes of these classes."""
        return [node for node in self.graph.values() if node.kind in kinds]

    def source(self, value: Any, name: str = "") -> ComfyNode | None:
        """The node behind a link, past reroutes and bypassed nodes; None when `value` is not a link."""
        for _ in range(_MOST_HOPS):
            if not isinstance(value, tuple):
                return None
            node = self.graph.get(value[0])
            if node is None or node.kind not in _REROUTES:
                return node
            self.used.add(node.key)
            value = _passed_on(node, name)
        return None

    def chain(self, value: Any, name: str) -> Iterator[ComfyNode]:
        """The nodes along one input, such as `model`; they count as used."""
        for _ in range(_MOST_HOPS):
            node = self.source(value, name)
            if node is None:
                return
            self.used.add(node.key)
            yield node
            value = node.inputs.get(name)

    def upstream(self, node: ComfyNode, names: tuple[str, ...]) -> list[ComfyNode]:
        """The nodes above `node` along inputs of these names, nearest first."""
        found: dict[str, ComfyNode] = {}
        pending = deque(_links(node, names))
        while pending:
            source = self.source(pending.popleft())
            if source is not None and source.key not in found and source is not node:
                found[source.key] = source
                pending += _links(source, names)
        return list(found.values())

    def value(self, node: ComfyNode, *names: str) -> Any:
        """The value of the first of these inputs that has one, in the node itself or in a sampler's helpers."""
        for name in names:
            value = self.held(node.inputs.get(name))
            if value is not None and not isinstance(value, (list, Mapping)):
                return value
        for helper in self._helpers(node):
            value = self.held(first_of(helper.inputs, *names))
            if value is not None:
                return value
        return None

    def held(self, value: Any) -> Any:
        """`value`, or behind a link what a node that only holds a value has; None when there is none."""
        for _ in range(_MOST_HELD + 1):
            if not isinstance(value, tuple):
                return value
            node = self.source(value)
            if node is None:
                return None
            self.used.add(node.key)
            value = first_of(node.inputs, *_VALUES)
        return None

    def lose(self, node: ComfyNode, how: str) -> None:
        """Note a node that the recipe leaves out; `how` begins the sentence."""
        self.lost.append(f"{how} {_shown(node)}")

    def lose_the_rest(self) -> None:
        """Note every node that the recipe does not need and that may change the image."""
        rest = [node for node in self.graph.values() if node.key not in self.used and not _without_effect(node)]
        for node in rest[:_MOST_SENTENCES]:
            self.lose(node, "the node")
        if len(rest) > _MOST_SENTENCES:
            self.lost.append(f"{len(rest) - _MOST_SENTENCES} more nodes")

    def _helpers(self, node: ComfyNode) -> Iterator[ComfyNode]:
        for name in _HELPERS:
            helper = self.source(node.inputs.get(name))
            if helper is not None and helper is not node:
                self.used.add(helper.key)
                yield helper


def _passed_on(node: ComfyNode, name: str) -> Link | None:
    """The link that a reroute passes on; a bypassed node passes on its input `name`."""
    for key, link in node.links():
        if key == name or node.kind != _BYPASSED:
            return link
    return None


def _links(node: ComfyNode, names: tuple[str, ...]) -> list[Link]:
    return [link for name, link in node.links() if name in names]


def _without_effect(node: ComfyNode) -> bool:
    # Loaders of text encoders belong to the base's own folder.
    return node.kind in _WITHOUT_EFFECT or "CLIPLoader" in node.kind


def _shown(node: ComfyNode) -> str:
    values = [f"{name}={value}"[:60] for name, value in node.inputs.items() if isinstance(value, (str, int, float))]
    if not values:
        return node.kind[:60]
    return f"{node.kind[:60]} ({', '.join(values)[:120]})"
