"""Files at https URLs: a cache on this machine, addressed by contents, that remembers what each URL gave.

In `urls/<sha256>/<name>` lies a file, in `urls/by-address/<digest of the URL>.json` which of them a URL gave last. Both
are written aside and renamed, so that nothing half-written is ever found.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from recipe_runner.canonical import parse_json
from recipe_runner.disk.inside import URL_FILE_PATTERN, inside
from recipe_runner.problems.credentials import credential_in
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.recipe.rules.secrets import HINT, secret_message
from recipe_runner.sources.access import access
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.weights.files.digests import cache_folder

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a URL gave: the file's name, size in bytes and sha256."""

    url: str
    name: str
    size: int
    sha256: str


def urls_folder() -> Path:
    """Where downloads lie."""
    return cache_folder() / "urls"


def downloaded_path(sha256: str, name: str) -> Path:
    """Where a download with these contents lies, whether or not it does.

    Raises:
        RecordError: E805 the name leads elsewhere.
    """
    return inside(urls_folder(), f"{sha256}/{name}")


def record_path(url: str) -> Path:
    """Where it is remembered what a URL gave."""
    return urls_folder() / "by-address" / f"{hashlib.sha256(url.encode()).hexdigest()[:40]}.json"


def find_url(url: str) -> Path:
    """The file that `url` gave, downloaded now where that may be; of a pinned URL the file that the lock names.

    Raises:
        SourceMissing: E403 it was not downloaded, and nothing may be.
        ResolutionError: E439 the URL holds a secret; E430, E436 to E438 it cannot be downloaded.
        RecordError: E801 it cannot be kept.
    """
    _refuse_secrets(url)
    granted = access()
    pin = granted.pins.get((url, None))
    if pin is not None and len(pin.files) == 1:
        (wanted,) = pin.files
        path = downloaded_path(wanted.sha256, wanted.name)
        if path.is_file() and path.stat().st_size == wanted.size:
            return _used(path)
    else:
        wanted = None
        given = recall(url)
        if given is not None and not (granted.may_fetch(url) and granted.newest):
            return _used(downloaded_path(given.sha256, given.name))
    if not granted.may_fetch(url):
        message = f"{url}: not downloaded yet"
        raise SourceMissing(Problem(code="E403", message=message, hint="`recipe-runner fetch` downloads it"))
    if granted.headers:
        from recipe_runner.sources.headers_only import bring_url  # noqa: PLC0415 - imports an HTTP client

        return bring_url(url)
    from recipe_runner.sources.url.download import download_url  # noqa: PLC0415 - imports an HTTP client

    return download_url(url, wanted)


def recall(url: str) -> Given | None:
    """What `url` gave last, when that file is still there."""
    given = _read_record(record_path(url))
    return given if given is not None and given.url == url else None


def recorded_file(record: Path) -> Path | None:
    """The file that a record names, when it is still there."""
    given = _read_record(record)
    return None if given is None else downloaded_path(given.sha256, given.name)


def _read_record(record: Path) -> Given | None:
    try:
        tree = parse_json(record.read_bytes())
        given = Given(url=tree["url"], name=tree["name"], size=tree["size"], sha256=tree["sha256"])
        if not _SHA256.fullmatch(given.sha256) or not re.fullmatch(URL_FILE_PATTERN, given.name):
            return None
        return given if downloaded_path(given.sha256, given.name).stat().st_size == given.size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _used(path: Path) -> Path:
    """`path` itself; when it was last used is noted on its folder, for `gc`: on the file it would cost its digest."""
    # A cache that cannot be written is no reason to fail.
    with suppress(OSError):
        os.utime(path.parent)
    return path


def record_bytes(given: Given) -> bytes:
    """The record of what a URL gave."""
    return json.dumps(asdict(given), indent=2).encode() + b"\n"


def plain_name(name: str) -> str:
    """`name` as a plain file name that is safe anywhere."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", last).lstrip(".-")[-200:].lstrip(".-")
    return safe or "download"


def _refuse_secrets(url: str) -> None:
    """E439, naming the parameter and never its value."""
    if what := credential_in(url):
        raise ResolutionError(Problem(code="E439", message=f"{url}: {secret_message(what)}", hint=HINT))
