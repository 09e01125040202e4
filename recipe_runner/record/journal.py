"""The journal: one JSON line for each image that is whole, appended and flushed after it.

The lines carry no clock time and do not say who made an image, so a run that was killed and went on ends with the
same journal. Each line is proved by a digest of its own: a torn last line (the writer was killed inside it) and a
damaged or edited line are dropped, and their images then checked against the manifest and the store again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from recipe_runner.canonical import parse_json, proved, with_digest
from recipe_runner.disk.atomic import append, reading, write_file
from recipe_runner.record.environment import Environment

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
_DIGEST = re.compile(r"[0-9a-f]{64}")


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
        return _last_of_each(_entries(self._whole_lines()))

    def recover(self) -> tuple[JournalEntry, ...]:
        """The entries as `read` gives them, once the file holds nothing else: what is damaged is taken out of it.

        Raises:
            RecordError: E801, E802.
        """
        entries = _entries(self._whole_lines())
        with reading(self.path):
            standing = self.path.read_bytes() if self.path.exists() else b""
        lines = b"".join(map(_line, entries))
        if lines != standing:
            write_file(self.path, lines)
        return _last_of_each(entries)

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
    text = json.dumps(with_digest(tree), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def _entries(lines: bytes) -> list[JournalEntry]:
    found = [_entry_from(line) for line in lines.splitlines()]
    return [entry for entry in found if entry is not None]


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
    if (
        not isinstance(tree["path"], str)
        or not all(isinstance(text, str) and _DIGEST.fullmatch(text) for text in digests)
        or not all(type(number) is int and number > 0 for number in numbers)
    ):
        return None
    return JournalEntry(**tree)
