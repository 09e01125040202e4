"""The journal: one JSON line for each finished image, appended and flushed after the image.

The lines have no clock time and no process id, so a run that was killed and resumed ends with the same journal. Each
line has its own digest: a torn last line (the writer was killed while writing it) and damaged or edited lines are
dropped, and their images are checked against the manifest and the store again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from recipe_runner.canonical import parse_json, proved, with_digest
from recipe_runner.disk.atomic import append, reading, write_file
from recipe_runner.record.environment import Environment, are_counts, are_digests

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
        """Use the file `path`, which may not exist yet."""
        self.path = path
        self._keep: int | None = None

    def read(self) -> tuple[JournalEntry, ...]:
        """The entries in order, the last one of each image; lines that are not entries are skipped.

        Raises:
            RecordError: E802, the file exists but cannot be read.
        """
        return _last_of_each(_entries(_whole_lines(self._data())))

    def recover(self) -> tuple[JournalEntry, ...]:
        """The entries as `read` returns them; removes damaged lines from the file.

        Raises:
            RecordError: E801, E802.
        """
        standing = self._data()
        entries = _entries(_whole_lines(standing))
        lines = b"".join(map(_line, entries))
        if lines != standing:
            write_file(self.path, lines)
        return _last_of_each(entries)

    def append(self, entries: Iterable[JournalEntry]) -> None:
        """Add entries and flush them, all with one flush; a torn last line is cut off first.

        Raises:
            RecordError: E801.
        """
        lines = b"".join(map(_line, entries))
        if not lines:
            return
        keep = self._keep
        if keep is None:
            keep = len(_whole_lines(self._data()))
        # None until the append is known to have succeeded.
        self._keep = None
        append(self.path, lines, keep)
        self._keep = keep + len(lines)

    def _data(self) -> bytes:
        with reading(self.path):
            try:
                return self.path.read_bytes()
            except FileNotFoundError:
                return b""


def _whole_lines(data: bytes) -> bytes:
    end = data.rfind(b"\n") + 1
    return data[:end]


def _line(entry: JournalEntry) -> bytes:
    tree = {name: getattr(entry, name) for name in _FIELDS}
    # A mapping of any kind is written as an object.
    tree["environment"] = dict(entry.environment)
    text = json.dumps(with_digest(tree), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def _entries(lines: bytes) -> list[JournalEntry]:
    entries: list[JournalEntry] = []
    for line in lines.splitlines():
        entry = _entry_from(line)
        if entry is not None:
            entries.append(entry)
    return entries


def _last_of_each(entries: list[JournalEntry]) -> tuple[JournalEntry, ...]:
    return tuple({entry.path: entry for entry in entries}.values())


def _entry_from(line: bytes) -> JournalEntry | None:
    try:
        tree = proved(parse_json(line))
        if tree.keys() != _FIELDS.keys():
            return None
        Environment.model_validate(tree["environment"])
    except ValueError:
        return None
    digests = (tree["node_key"], tree["file_sha256"], tree["pixel_sha256"])
    numbers = (tree["size"], tree["width"], tree["height"])
    if not isinstance(tree["path"], str) or not are_digests(digests) or not are_counts(numbers):
        return None
    return JournalEntry(**tree)
