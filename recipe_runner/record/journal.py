"""The journal: one JSON line for each image that is whole, appended and flushed after it.

The lines carry no clock time and do not say who made an image, so a run that was killed and went on ends with the
same journal. A torn last line (the writer was killed inside it) and a damaged line are dropped: their images are then
checked against the store again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from recipe_runner.disk.atomic import append, reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from recipe_runner.canonical import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One finished image. `path` is relative to the run folder; `file_sha256` and `size` (bytes) are of that file."""

    path: str
    node_key: str
    file_sha256: str
    pixel_sha256: str
    size: int
    width: int
    height: int
    environment: Mapping[str, Json]


_FIELDS = dict.fromkeys(field.name for field in fields(JournalEntry))


class Journal:
    """The journal file at `path`; the caller holds the run's lock."""

    def __init__(self, path: Path) -> None:
        """Use the file `path`, which need not exist."""
        self.path = path
        self._keep: int | None = None

    def read(self) -> tuple[JournalEntry, ...]:
        """The entries in order, the last one of each image; lines that are not entries are skipped.

        Raises:
            RecordError: E802 when the file is there and cannot be read.
        """
        found: dict[str, JournalEntry] = {}
        for line in self._whole_lines().splitlines():
            entry = _entry_from(line)
            if entry is not None:
                found[entry.path] = entry
        return tuple(found.values())

    def append(self, entries: Iterable[JournalEntry]) -> None:
        """Add entries and flush them, all with one flush; a torn last line is cut off first.

        Raises:
            RecordError: E801.
        """
        lines = b"".join(_line(entry) for entry in entries)
        if not lines:
            return
        keep = len(self._whole_lines()) if self._keep is None else self._keep
        # Forgotten while it is not certain that the append succeeded.
        self._keep = None
        append(self.path, lines, keep)
        self._keep = keep + len(lines)

    def _whole_lines(self) -> bytes:
        with reading(self.path):
            try:
                data = self.path.read_bytes()
            except FileNotFoundError:
                return b""
        return data[: data.rfind(b"\n") + 1]


def _line(entry: JournalEntry) -> bytes:
    tree = {name: getattr(entry, name) for name in _FIELDS}
    # A mapping of any kind is written as an object.
    tree["environment"] = dict(entry.environment)
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def _entry_from(line: bytes) -> JournalEntry | None:
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, dict) or tree.keys() != _FIELDS.keys():
        return None
    texts = (tree["path"], tree["node_key"], tree["file_sha256"], tree["pixel_sha256"])
    numbers = (tree["size"], tree["width"], tree["height"])
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        return None
    if not isinstance(tree["environment"], dict):
        return None
    return JournalEntry(**tree)
