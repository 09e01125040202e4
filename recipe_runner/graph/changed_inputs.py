"""Why an image has to be made: what of its inputs differs from those of the image that an earlier run made there."""

from __future__ import annotations

from collections.abc import Mapping

from recipe_runner.canonical import Json
from recipe_runner.graph.graph import BuildGraph, Node


def inputs_of(graph: BuildGraph, key: str) -> dict[str, Json]:
    """Everything that decides an image, by dotted name: `denoise.sampling.num_inference_steps`, `load_base.files.base`.

    Operations that occur several times are numbered from the second on: `add_lora`, `add_lora#2`.
    """
    found: dict[str, Json] = {}
    count: dict[str, int] = {}
    for node in graph.order([key]):
        count[node.operation] = count.get(node.operation, 0) + 1
        number = count[node.operation]
        name = node.operation if number == 1 else f"{node.operation}#{number}"
        found |= flat(name, _own(node))
    return found


def changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[str]:
    """One phrase for each input that differs, in the order of `new`, then what is gone."""
    phrases: list[str] = []
    for name, value in new.items():
        if name not in old:
            phrases.append(f"{name}: {_show(value)} (new)")
        elif old[name] != value or type(old[name]) is not type(value):
            phrases.append(f"{name}: {_show(old[name])} → {_show(value)}")
    phrases.extend(f"{name}: {_show(value)} (gone)" for name, value in old.items() if name not in new)
    return phrases


def _own(node: Node) -> dict[str, Json]:
    own: dict[str, Json] = {"version": node.version, **node.constants}
    if node.files:
        own["files"] = node.files
    return own


def flat(name: str, value: Json) -> dict[str, Json]:
    """The leaves of `value` by their dotted paths below `name`; an empty mapping is a leaf."""
    if isinstance(value, Mapping) and value:
        return {full: leaf for key, item in value.items() for full, leaf in flat(f"{name}.{key}", item).items()}
    return {name: list(value) if isinstance(value, tuple) else value}


def _show(value: Json) -> str:
    length = 48
    text = str(value) if not isinstance(value, str) else value
    if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text):  # noqa: PLR2004 - a sha256
        return text[:12]
    return text if len(text) <= length else f"{text[: length - 1]}…"
