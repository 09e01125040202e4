"""Why an image must be made: how its inputs differ from those of the image of an earlier run."""

from __future__ import annotations

import re
from collections.abc import Mapping

from recipe_runner.canonical import Json
from recipe_runner.graph.graph import BuildGraph, Node

_SHA256 = re.compile("[0-9a-f]{64}")
_LONGEST = 48
"""Characters of a value in a phrase."""


def inputs_of(graph: BuildGraph, key: str) -> dict[str, Json]:
    """All inputs of an image by dotted name, such as `denoise.sampling.num_inference_steps` and `load_base.files.base`.

    Further operations of the same name have a number: `add_lora`, `add_lora#2`.
    """
    found: dict[str, Json] = {}
    count: dict[str, int] = {}
    for node in graph.order([key]):
        number = count.get(node.operation, 0) + 1
        count[node.operation] = number
        name = node.operation
        if number > 1:
            name = f"{name}#{number}"
        found |= flat(name, _own(node))
    return found


def changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[str]:
    """One phrase for each input that differs, in the order of `new`, and then for removed inputs."""
    phrases: list[str] = []
    for name, value in new.items():
        if name not in old:
            phrases.append(f"{name}: {_show(value)} (new)")
        elif old[name] != value or type(old[name]) is not type(value):
            phrases.append(f"{name}: {_show(old[name])} → {_show(value)}")
    for name, value in old.items():
        if name not in new:
            phrases.append(f"{name}: {_show(value)} (gone)")
    return phrases


def _own(node: Node) -> dict[str, Json]:
    own: dict[str, Json] = {"version": node.version, **node.constants}
    if node.files:
        own["files"] = node.files
    return own


def flat(name: str, value: Json) -> dict[str, Json]:
    """The leaves of `value` by their dotted paths below `name`; an empty mapping is a leaf."""
    if isinstance(value, tuple):
        return {name: list(value)}
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    leaves: dict[str, Json] = {}
    for key, item in value.items():
        leaves |= flat(f"{name}.{key}", item)
    return leaves


def _show(value: Json) -> str:
    text = str(value)
    if _SHA256.fullmatch(text):
        return text[:12]
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 1]}…"
