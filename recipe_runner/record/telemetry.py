"""The times and the host of a run, in a file of their own because a manifest must not contain them.

`telemetry.json` has one entry for each invocation that made something, in order. Nothing depends on it: a damaged file
is started again, if needed by an invocation that made nothing.
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

    `started` is UTC in ISO 8601. `seconds` is the duration of each phase. `image_seconds` is the time from the previous
    finished image to this one, by path: work that several images share counts for the first of them, and of images with
    the same bytes only the first is listed. `host` has the host's name, processors, device and memory. `warnings` are
    the warnings that the run reported.
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
        "seconds": _rounded(invocation.seconds),
        "image_seconds": _rounded(invocation.image_seconds),
        "host": dict(invocation.host),
        "warnings": list(invocation.warnings),
    }
    tree = {"telemetry": _FORMAT, "invocations": [*read_telemetry(path), entry]}
    write_file(path, json.dumps(tree, indent=2, ensure_ascii=False).encode("utf-8") + b"\n")


def _rounded(times: Mapping[str, float]) -> dict[str, float]:
    return {name: round(seconds, 6) for name, seconds in times.items()}


def read_telemetry(path: Path) -> list[dict[str, Any]]:
    """The invocations in the file `path`; none if it is missing or damaged."""
    try:
        tree = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return []
    if not isinstance(tree, dict) or tree.get("telemetry") != _FORMAT:
        return []
    invocations = tree.get("invocations")
    if not isinstance(invocations, list) or not all(map(_is_invocation, invocations)):
        return []
    return invocations


def _is_invocation(entry: object) -> bool:
    """Whether the existing keys of an invocation have the types of `Invocation`; keys may be missing."""
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
    """The items of a list; for any other value one item that is not a valid warning."""
    if not isinstance(value, list):
        return [None]
    return value


def _are_numbers(values: Iterable[object]) -> bool:
    return all(type(value) in (int, float) for value in values)
