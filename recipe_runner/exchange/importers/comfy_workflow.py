"""A ComfyUI workflow as the editor saves it: values by position, links by number, and graphs inside nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recipe_runner.exchange.importers.comfy_graph import ComfyNode, Graph, Link
from recipe_runner.exchange.importers.foreign_json import mapping, mappings, sequence

_MUTED, _BYPASSED = 2, 4
_CONTROL = "control_after_generate"
_WIDGETS: Mapping[str, tuple[str, ...]] = {
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "CFGGuider": ("cfg",),
    "CLIPLoader": ("clip_name", "type"),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl", "guidance"),
    "CLIPTextEncodeSDXL": ("width", "height", "crop_w", "crop_h", "target_width", "target_height", "text_g", "text_l"),
    "CheckpointLoader": ("config_name", "ckpt_name"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "DualCLIPLoader": ("clip_name1", "clip_name2", "type"),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "FluxGuidance": ("guidance",),
    "KSampler": ("seed", _CONTROL, "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        "add_noise", "noise_seed", _CONTROL, "steps", "cfg", "sampler_name", "scheduler", "start_at_step",
        "end_at_step", "return_with_leftover_noise",
    ),
    "KSamplerSelect": ("sampler_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "PrimitiveNode": ("value",),
    "RandomNoise": ("noise_seed", _CONTROL),
    "SamplerCustom": ("add_noise", "noise_seed", _CONTROL, "cfg"),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "VAELoader": ("vae_name",),
    "unCLIPCheckpointLoader": ("ckpt_name",),
}  # fmt: skip
"""The names of the values that the editor stores by position, for the nodes that are read."""
_ENTRY, _EXIT = "-10", "-20"
"""The nodes that stand for the inputs and outputs of the subgraph around them."""
_DEEPEST = 8
_MOST_NODES = 5_000


class _Link(NamedTuple):
    """A link by its number, from an output slot of `origin` to an input slot of `target`."""

    number: int | str
    origin: str
    slot: int
    target: str
    target_slot: int


def workflow_graph(tree: Mapping[str, Any]) -> Graph | None:
    """The graph of a workflow, with its subgraphs laid out; None for anything else."""
    if not isinstance(tree.get("nodes"), list) or not isinstance(tree.get("links"), list):
        return None
    definitions = mappings(mapping(tree.get("definitions")).get("subgraphs"))
    reader = _Workflow({str(each.get("id")): each for each in definitions})
    reader.lay_out(tree, "", (), 0)
    return reader.graph()


class _Workflow:
    """Nodes of all levels under keys such as `12:3`; `_exits` is what the outputs of subgraphs stand for."""

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._definitions = definitions
        self._seen = 0
        self._nodes: dict[str, tuple[str, dict[str, Any]]] = {}
        self._exits: dict[Link, Any] = {}

    def graph(self) -> Graph:
        graph: dict[str, ComfyNode] = {}
        for key, (kind, inputs) in self._nodes.items():
            graph[key] = ComfyNode(key, kind, {name: self._behind(value) for name, value in inputs.items()})
        return graph

    def _behind(self, value: Any) -> Any:
        for _ in range(_DEEPEST + 1):
            if not isinstance(value, tuple) or value not in self._exits:
                return value
            value = self._exits[value]
        return None

    def lay_out(self, tree: Mapping[str, Any], prefix: str, given: Sequence[Any], depth: int) -> None:
        """Add the nodes of one level; `given` is what the subgraph's inputs get, by position."""
        links = self._links(tree, prefix, given)
        for node in mappings(tree.get("nodes")):
            # Count also the nodes that only hold others: a graph inside itself has infinitely many.
            self._seen += 1
            if "id" in node and node.get("mode") != _MUTED and self._seen < _MOST_NODES:
                self._add(node, f"{prefix}{node['id']}", links, depth)

    def _links(self, tree: Mapping[str, Any], prefix: str, given: Sequence[Any]) -> dict[int | str, Any]:
        """What each link of one level carries, by its number; also notes what leaves the subgraph."""
        links: dict[int | str, Any] = {}
        for link in map(_link, sequence(tree.get("links"))):
            if link is None:
                continue
            value: Any = (prefix + link.origin, link.slot)
            if prefix and link.origin == _ENTRY:
                value = given[link.slot] if link.slot < len(given) else None
            links[link.number] = value
            if prefix and link.target == _EXIT:
                self._exits[prefix.removesuffix(":"), link.target_slot] = value
        return links

    def _add(self, node: Mapping[str, Any], key: str, links: Mapping[int | str, Any], depth: int) -> None:
        kind, inputs = "bypassed", {}
        if node.get("mode") != _BYPASSED:
            kind = str(node.get("type"))
            inputs = _widgets(kind, node)
        entries = mappings(node.get("inputs"))
        for entry in entries:
            number = entry.get("link")
            if isinstance(number, (int, str)) and links.get(number) is not None:
                inputs[str(entry.get("name"))] = links[number]
        inner = self._definitions.get(kind)
        if inner is None or depth >= _DEEPEST:
            self._nodes[key] = (kind, inputs)
            return
        given = [inputs.get(str(entry.get("name"))) for entry in entries]
        self.lay_out(inner, f"{key}:", given, depth + 1)


def _link(link: Any) -> _Link | None:
    """A link from a list, or from an object in newer files and in subgraphs."""
    if isinstance(link, list) and len(link) >= len(_Link._fields):
        number, origin, slot, target, target_slot = link[: len(_Link._fields)]
    elif isinstance(link, Mapping):
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        number, origin, slot, target, target_slot = map(link.get, names)
    else:
        return None
    if not isinstance(number, (int, str)):
        return None
    return _Link(number, str(origin), _slot(slot), str(target), _slot(target_slot))


def _slot(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _widgets(kind: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a node by name."""
    values = node.get("widgets_values")
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    listed = sequence(values)
    names = _WIDGETS.get(kind) or _marked_widgets(node, len(listed))
    widgets = dict(zip(names, listed, strict=False))
    widgets.pop(_CONTROL, None)
    return widgets


def _marked_widgets(node: Mapping[str, Any], count: int) -> list[str]:
    """The names of `count` values by position, from the inputs that newer editors mark as widgets."""
    names = [str(entry.get("name")) for entry in mappings(node.get("inputs")) if "widget" in entry]
    for seed in ("seed", "noise_seed"):
        if seed in names and count > len(names):
            names.insert(names.index(seed) + 1, _CONTROL)
    return names
