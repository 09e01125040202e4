"""How long things took and on which machine: what a manifest must not hold, in a file of its own.

`telemetry.json` has one entry for each invocation that made something, in order. Nothing depends on it: a damaged file
is begun anew, by an invocation that made nothing where all images are there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipe_runner.canonical import parse_json
from recipe_runner.disk.atomic import write_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from recipe_runner.canonical import Json

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One invocation of `run`.

    `started` is UTC in ISO 8601. `seconds` is the duration of each phase. `image_seconds` is, by the path of each image
    that was made, how long it took until it was whole, since the one before it was: what several images share counts
    for the first of them, and of images with the same bytes only the first is listed. `host` has the
    host's facts: name, processors, device, memory.
    `warnings` are what the run told.
    """

    started: str
    made: int
    reused: int
    seconds: Mapping[str, float]
    image_seconds: Mapping[str, float]
    host: Mapping[str, Json]
    warnings: Sequence[str] = ()


def append_telemetry(path: Path, invocation: Invocation) -> None:
    """Add an invocation to the file `path`.

    Raises:
        RecordError: E801.
    """
    entry = {
        "started": invocation.started,
        "made": invocation.made,
        "reused": invocation.reused,
        "seconds": {name: round(seconds, 6) for name, seconds in invocation.seconds.items()},
        "image_seconds": {name: round(seconds, 6) for name, seconds in invocation.image_seconds.items()},
        "host": dict(invocation.host),
        "warnings": list(invocation.warnings),
    }
    tree = {"telemetry": _FORMAT, "invocations": [*read_telemetry(path), entry]}
    write_file(path, json.dumps(tree, indent=2, ensure_ascii=False).encode("utf-8") + b"\n")


def read_telemetry(path: Path) -> list[dict[str, Any]]:
    """The invocations in the file `path`; none when there is no such file or it is damaged."""
    try:
        tree = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return []
    invocations = tree.get("invocations") if isinstance(tree, dict) and tree.get("telemetry") == _FORMAT else None
    if not isinstance(invocations, list) or not all(map(_is_invocation, invocations)):
        return []
    return invocations


def _is_invocation(entry: object) -> bool:
    """Whether what there is of an invocation has the types of `Invocation`; readers do without what is not there."""
    if not isinstance(entry, dict):
        return False
    texts = [entry.get("started", ""), *_items(entry.get("warnings", []))]
    seconds = (entry.get("seconds", {}), entry.get("image_seconds", {}))
    counts = (entry.get("made", 0), entry.get("reused", 0))
    return (
        isinstance(entry.get("host", {}), dict)
        and all(isinstance(text, str) for text in texts)
        and all(type(count) is int for count in counts)
        and all(isinstance(times, dict) and _are_numbers(times.values()) for times in seconds)
    )


def _items(value: object) -> list[object]:
    """The items of a list; anything else as one item that no list of warnings has."""
    return value if isinstance(value, list) else [None]


def _are_numbers(values: Iterable[object]) -> bool:
    return all(type(value) in (int, float) for value in values)
