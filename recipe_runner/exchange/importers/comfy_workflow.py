"""ComfyUI's workflow, as its editor saves it: values by position, links by number, and graphs inside nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recipe_runner.exchange.importers.comfy_graph import ComfyNode, Graph, Link
from recipe_runner.exchange.importers.foreign_json import mapping, sequence

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
"""Names of the values that the editor stores by position, for the nodes that reading needs."""
_ENTRY, _EXIT = "-10", "-20"
"""Nodes that stand for a subgraph's own inputs and outputs."""
_DEEPEST = 8
_MOST_NODES = 5_000


def workflow_graph(tree: Mapping[str, Any]) -> Graph | None:
    """The graph of a workflow, its subgraphs laid out; None for anything else."""
    if not isinstance(tree.get("nodes"), list) or not isinstance(tree.get("links"), list):
        return None
    definitions = [mapping(each) for each in sequence(mapping(tree.get("definitions")).get("subgraphs"))]
    reader = _Workflow({str(each.get("id")): each for each in definitions})
    reader.lay_out(tree, "", (), 0)
    return reader.graph()


class _Workflow:
    """Nodes of all levels under keys such as `12:3`; `_exits` are what a subgraph's outputs stand for."""

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._definitions = definitions
        self._seen = 0
        self._nodes: dict[str, tuple[str, dict[str, Any]]] = {}
        self._exits: dict[Link, Any] = {}

    def graph(self) -> Graph:
        return {
            key: ComfyNode(key, kind, {name: self._behind(value) for name, value in inputs.items()})
            for key, (kind, inputs) in self._nodes.items()
        }

    def _behind(self, value: Any) -> Any:
        for _ in range(_DEEPEST + 1):
            if not isinstance(value, tuple) or value not in self._exits:
                return value
            value = self._exits[value]
        return None

    def lay_out(self, tree: Mapping[str, Any], prefix: str, given: Sequence[Any], depth: int) -> None:
        """Add the nodes of one level; `given` is what the subgraph's inputs get, by position."""
        links: dict[Any, Any] = {}
        for link in map(_link, sequence(tree.get("links"))):
            if link is None:
                continue
            number, origin, slot, target, target_slot = link
            value: Any = (prefix + origin, slot)
            if prefix and origin == _ENTRY:
                value = given[slot] if slot < len(given) else None
            links[number] = value
            if prefix and target == _EXIT:
                self._exits[prefix.removesuffix(":"), target_slot] = value
        for node in map(mapping, sequence(tree.get("nodes"))):
            # Counted with the nodes that only hold others: a graph inside itself would have no end of them.
            self._seen += 1
            if "id" in node and node.get("mode") != _MUTED and self._seen < _MOST_NODES:
                self._add(node, f"{prefix}{node['id']}", links, depth)

    def _add(self, node: Mapping[str, Any], key: str, links: Mapping[Any, Any], depth: int) -> None:
        kind = "bypassed" if node.get("mode") == _BYPASSED else str(node.get("type"))
        inputs = {} if kind == "bypassed" else _widgets(kind, node)
        entries = [mapping(entry) for entry in sequence(node.get("inputs"))]
        for entry in entries:
            number = entry.get("link")
            linked = links.get(number) if isinstance(number, (int, str)) else None
            if linked is not None:
                inputs[str(entry.get("name"))] = linked
        inner = self._definitions.get(kind)
        if inner is None or depth >= _DEEPEST:
            self._nodes[key] = (kind, inputs)
        else:
            given = [inputs.get(str(entry.get("name"))) for entry in entries]
            self.lay_out(inner, f"{key}:", given, depth + 1)


def _link(link: Any) -> tuple[int | str, str, int, str, int] | None:
    """Number, origin, its slot, target, its slot: a list, or an object in newer files and in subgraphs."""
    if isinstance(link, list) and len(link) >= 5:  # noqa: PLR2004
        number, origin, slot, target, target_slot = link[:5]
    elif isinstance(link, Mapping):
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        number, origin, slot, target, target_slot = (link.get(name) for name in names)
    else:
        return None
    if not isinstance(number, (int, str)):
        return None
    slots = [each if isinstance(each, int) and each >= 0 else 0 for each in (slot, target_slot)]
    return number, str(origin), slots[0], str(target), slots[1]


def _widgets(kind: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a node by name: from the table, else from the inputs that newer editors mark as widgets."""
    values = node.get("widgets_values")
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    listed = sequence(values)
    names = _WIDGETS.get(kind)
    if names is None:
        marked = [mapping(entry) for entry in sequence(node.get("inputs")) if "widget" in mapping(entry)]
        names = tuple(str(entry.get("name")) for entry in marked)
        seeded = [place for place, name in enumerate(names) if name in ("seed", "noise_seed")]
        if seeded and len(listed) > len(names):
            names = (*names[: seeded[0] + 1], _CONTROL, *names[seeded[0] + 1 :])
    return {name: value for name, value in zip(names, listed, strict=False) if name != _CONTROL}
