"""ComfyUI's two files as one graph: the API format, and the editor's workflow with values by position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recipe_runner.exchange.foreign_json import mapping, sequence

Link = tuple[str, int]

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


def graph_of(tree: Mapping[str, Any]) -> Graph | None:
    """The graph of a ComfyUI object in either format; None for anything else."""
    if isinstance(tree.get("nodes"), list) and isinstance(tree.get("links"), list):
        return _of_workflow(tree)
    inner = tree.get("prompt")
    if isinstance(inner, Mapping):
        return graph_of(inner)
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


def _of_workflow(tree: Mapping[str, Any]) -> Graph:
    nodes = {str(node.get("id")): node for node in map(mapping, tree["nodes"]) if "id" in node}
    links: dict[Any, Link] = {}
    for link in tree["links"]:
        # A list `[id, from node, from slot, to node, to slot, type]`, or an object in newer files.
        if isinstance(link, list) and len(link) >= 5 and _hashable(link[0]):  # noqa: PLR2004
            links[link[0]] = (str(link[1]), link[2] if isinstance(link[2], int) else 0)
        elif isinstance(link, Mapping) and _hashable(link.get("id")):
            slot = link.get("origin_slot")
            links[link.get("id")] = (str(link.get("origin_id")), slot if isinstance(slot, int) else 0)
    graph = {}
    for key, node in nodes.items():
        if node.get("mode") == _MUTED:
            continue
        kind = str(node.get("type"))
        inputs = {} if node.get("mode") == _BYPASSED else _widgets(kind, node)
        for entry in map(mapping, sequence(node.get("inputs"))):
            link = links.get(entry.get("link")) if _hashable(entry.get("link")) else None
            if link is not None:
                inputs[str(entry.get("name"))] = link
        graph[key] = ComfyNode(key, "bypassed" if node.get("mode") == _BYPASSED else kind, inputs)
    return graph


def _hashable(value: Any) -> bool:
    return isinstance(value, (int, str))


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
