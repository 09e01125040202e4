"""The texts of a ComfyUI graph: from a sampler's conditioning back to the nodes that hold words."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from recipe_runner.exchange.importers.comfy_graph import ComfyNode, Link
from recipe_runner.exchange.importers.comfy_walk import ComfyWalk

Side = Literal["positive", "negative"]

_WHAT: Mapping[Side, str] = {"positive": "the prompt", "negative": "the negative prompt"}
_OTHER: Mapping[Side, Side] = {"positive": "negative", "negative": "positive"}
_TEXTS = ("text", "text_g", "t5xxl", "clip_l", "text_l", "prompt", "string", "text_positive", "value", "string_field")
_TRANSPARENT = ("ConditioningCombine", "ConditioningConcat", "FluxGuidance")
"""Nodes behind which the texts are the whole of what they do, or whose other work is read elsewhere."""


def comfy_prompt(walk: ComfyWalk, sampler: ComfyNode, side: Side) -> str:
    """The text of one side of a sampler; further texts are noted as lost."""
    texts = list(dict.fromkeys(_texts(walk, _conditioning(walk, sampler, side), side)))
    for text in texts[1:]:
        if text.strip():
            walk.lost.append(f"{_WHAT[side]} has several texts, without: `{text.strip()[:100]}`")
    return next(iter(texts), "")


def _conditioning(walk: ComfyWalk, sampler: ComfyNode, side: Side) -> Any:
    """The link to a side's conditioning: the sampler's own, or its guider's."""
    own = sampler.inputs.get(side)
    guider = walk.source(sampler.inputs.get("guider"))
    if own is not None or guider is None:
        return own
    if side == "positive" and not guider.inputs.get(side):
        return guider.inputs.get("conditioning")
    return guider.inputs.get(side)


def _texts(walk: ComfyWalk, link: Any, side: Side) -> Iterator[str]:
    """Every text that a conditioning has, nearest first."""
    pending, seen = deque([link]), set()
    while pending:
        node = walk.source(pending.popleft())
        if node is None or node.key in seen:
            continue
        seen.add(node.key)
        walk.used.add(node.key)
        texts = _texts_of(walk, node, side)
        if texts:
            yield from texts
            continue
        pending += _ways(node, side)
        if node.kind not in _TRANSPARENT:
            walk.lose(node, f"the {side} conditioning passes through")


def _texts_of(walk: ComfyWalk, node: ComfyNode, side: Side) -> list[str]:
    """The texts that a node encodes; empty when it encodes none."""
    own = node.inputs.get(side)
    if isinstance(own, str):
        # A loader that encodes its own texts.
        return [own]
    if "clip" not in node.inputs and "Encode" not in node.kind and "Prompt" not in node.kind:
        return []
    values = [walk.held(node.inputs.get(name)) for name in _TEXTS]
    return [value for value in values if isinstance(value, str)]


def _ways(node: ComfyNode, side: Side) -> list[Link]:
    """The links on which a node gets the conditioning of a side."""
    wanted: tuple[str, ...] = ("conditioning", "positive", "negative")
    if "positive" in node.inputs and "negative" in node.inputs:
        wanted = ("conditioning", side)
    return [link for name, link in node.links() if name != _OTHER[side] and name.startswith(wanted)]
