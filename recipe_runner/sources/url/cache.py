"""The cache of files at https URLs: addressed by contents, with a record of what each URL gave.

`urls/<sha256>/<name>` is a file, and `urls/by-address/<digest of the URL>.json` records which file the URL gave last.
Both are written aside and renamed, so that no half-written file is ever found.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from recipe_runner.canonical import parse_json
from recipe_runner.disk.inside import URL_FILE_PATTERN, inside
from recipe_runner.weights.files.digests import cache_folder

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlRecord:
    """The file that a URL gave: its name, size in bytes and sha256."""

    url: str
    name: str
    size: int
    sha256: str


def urls_folder() -> Path:
    """The folder of downloads."""
    return cache_folder() / "urls"


def downloaded_path(sha256: str, name: str) -> Path:
    """The path of a download with these contents, whether it exists or not.

    Raises:
        RecordError: E805 the name leads out of the folder.
    """
    return inside(urls_folder(), f"{sha256}/{name}")


def record_path(url: str) -> Path:
    """The path of a URL's record."""
    return urls_folder() / "by-address" / f"{hashlib.sha256(url.encode()).hexdigest()[:40]}.json"


def recall(url: str) -> UrlRecord | None:
    """The record of `url`, if its file still exists."""
    record = _read_record(record_path(url))
    if record is None or record.url != url:
        return None
    return record


def recorded_file(path: Path) -> Path | None:
    """The file that the record at `path` names, if it still exists."""
    record = _read_record(path)
    if record is None:
        return None
    return downloaded_path(record.sha256, record.name)


def _read_record(path: Path) -> UrlRecord | None:
    try:
        tree = parse_json(path.read_bytes())
        record = UrlRecord(url=tree["url"], name=tree["name"], size=tree["size"], sha256=tree["sha256"])
        if not _SHA256.fullmatch(record.sha256) or not re.fullmatch(URL_FILE_PATTERN, record.name):
            return None
        if downloaded_path(record.sha256, record.name).stat().st_size != record.size:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record


def record_bytes(record: UrlRecord) -> bytes:
    """The contents of a record's file."""
    return json.dumps(asdict(record), indent=2).encode() + b"\n"


def plain_name(name: str) -> str:
    """`name` as a file name that is safe on every system."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", last).lstrip(".-")[-200:].lstrip(".-")
    return safe or "download"
