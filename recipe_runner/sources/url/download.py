"""Download a URL into the cache: streamed, resumed where it stopped, checked, and put in place in one step.

The received bytes are in `urls/incoming/<digest of the URL>.part`, with a note beside it that says which version of the
file they belong to. A download that was cut off, in this process or an earlier one, is resumed with `Range` and
`If-Range`. Two processes that want the same URL take turns, and the second finds the file of the first.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from email.message import Message
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2
from huggingface_hub import get_token

from recipe_runner.canonical import parse_json
from recipe_runner.disk.atomic import make_folder, put_in_place, system, write_all, write_file, writing
from recipe_runner.disk.lock import hold_lock
from recipe_runner.problems.problem import ResolutionError
from recipe_runner.sources.access import access
from recipe_runner.sources.connection import check_connection
from recipe_runner.sources.redirects import followed
from recipe_runner.sources.source import SourceFile
from recipe_runner.sources.url.cache import (
    UrlRecord,
    downloaded_path,
    plain_name,
    recall,
    record_bytes,
    record_path,
    urls_folder,
)
from recipe_runner.weights.files.digests import file_sha256

ATTEMPTS = 5
"""Attempts in a row that may receive nothing before a download fails."""
BUSY = (408, 425, 429, 500, 502, 503, 504)
_PART, _NO_SUCH_RANGE = 206, 416
_FLUSH_BYTES = 64 << 20
"""Bytes that a killed download loses at most; of a small file, a quarter of the received bytes or `_FEW_BYTES`."""
_FEW_BYTES = 256 << 10
MOST_UNANNOUNCED = 4 << 30
"""Limit for a file whose size neither a lock nor the server states."""
_LONGEST_WAIT = 60.0
_REPLACED = "somebody replaced the file; `recipe-runner lock --upgrade` accepts the new one"
_TIMEOUT = httpx2.Timeout(30.0, connect=15.0)
CIVITAI = ("civitai.com", "civitai.red", "civitai.green")
"""Hosts of the same service, with the same addresses and accounts."""
sleep = time.sleep


class _Again(Exception):
    """The attempt did not complete the download; `wait` is in seconds, if the server says how long."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class _Version:
    """The version of the file being downloaded: its name, and the server's validator of versions.

    `flushed` bytes of it are safely on the disk. Later bytes may be zeros after a power failure, so they are requested
    again.
    """

    name: str
    validator: str | None
    flushed: int = 0

    def write(self, path: Path) -> None:
        """Write the note."""
        write_file(path, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, path: Path) -> _Version | None:
        """Read the note; None if it is missing or damaged."""
        try:
            tree = parse_json(path.read_bytes())
            return cls(str(tree["name"]), tree["validator"], int(tree["flushed"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def download_url(url: str, wanted: SourceFile | None = None) -> Path:
    """Download the file at `url` and return its path; `wanted` is the file that a lock names.

    Raises:
        ResolutionError: E430 it does not match the lock, E436 the server cannot be reached or stays busy, E437 the
            file is cut short or too long, E438 the server refuses, E443 a redirect is not followed.
        RecordError: E801 it cannot be written.
    """
    check_connection()
    key = record_path(url).stem
    incoming = urls_folder() / "incoming"
    with hold_lock(incoming / f"{key}.lock", wait=True):
        if wanted is not None:
            existing = downloaded_path(wanted.sha256, wanted.name)
            if existing.is_file() and file_sha256(existing) == wanted.sha256:
                return existing
        elif not access().newest:
            record = recall(url)
            if record is not None:
                return downloaded_path(record.sha256, record.name)
        part = incoming / f"{key}.part"
        version = _bring(url, part, incoming / f"{key}.json", wanted)
        return _keep(url, part, version, wanted)


@contextlib.contextmanager
def ranged(url: str, first: int, last: int) -> Iterator[tuple[httpx2.Response, str]]:
    """The answer to a request for bytes `first` to `last` of the file at `url`, and the file's name; once, no retry.

    Raises:
        ResolutionError: E436 the server cannot be reached or is busy, E438 it refuses, E443 as `download_url`.
    """
    check_connection()
    try:
        with (
            httpx2.Client(timeout=_TIMEOUT, headers=_headers(url)) as client,
            followed(client, url, {"Range": f"bytes={first}-{last}"}) as answer,
        ):
            _refuse(url, answer)
            yield answer, _name(url, answer)
    except (_Again, httpx2.TransportError) as error:
        message = f"{url}: its header cannot be read ({_reason(error)})"
        raise ResolutionError.of("E436", message, "try again later") from error


def _keep(url: str, part: Path, version: _Version, wanted: SourceFile | None) -> Path:
    """Check the downloaded file, put it in place, and record that the URL gave it."""
    sha256 = file_sha256(part, partial(access().meter.hashing, version.name))
    name = version.name
    if wanted is not None:
        name = wanted.name
        if sha256 != wanted.sha256:
            part.unlink()
            message = f"{url}: sha256 mismatch: got {sha256[:12]}…, the lock expects {wanted.sha256[:12]}…"
            raise ResolutionError.of("E430", message, _REPLACED)
    record = UrlRecord(url=url, name=name, size=part.stat().st_size, sha256=sha256)
    target = downloaded_path(sha256, name)
    make_folder(target.parent)
    put_in_place(part, target)
    make_folder(record_path(url).parent)
    write_file(record_path(url), record_bytes(record))
    return target


def _bring(url: str, part: Path, note: Path, wanted: SourceFile | None) -> _Version:
    """Download in as many attempts as needed until the file is whole."""
    failures = 0
    with httpx2.Client(timeout=_TIMEOUT, headers=_headers(url)) as client:
        while True:
            before = _size(part)
            try:
                return _attempt(client, url, part, note, wanted)
            except (_Again, httpx2.TransportError) as error:
                failures += 1
                if _size(part) > before:
                    failures = 1
                if failures >= ATTEMPTS:
                    message = f"{url}: cannot be downloaded ({_reason(error)})"
                    hint = "try again later; the received bytes are kept and the download is resumed"
                    raise ResolutionError.of("E436", message, hint) from error
                wait = 2.0 ** (failures - 1)
                if isinstance(error, _Again) and error.wait is not None:
                    wait = error.wait
                sleep(min(wait, _LONGEST_WAIT))


def _attempt(client: httpx2.Client, url: str, part: Path, note: Path, wanted: SourceFile | None) -> _Version:
    version, have = _Version.read(note), 0
    headers = {}
    if version is not None and version.validator:
        have = min(_size(part), version.flushed)
        if have:
            headers = {"Range": f"bytes={have}-", "If-Range": version.validator}
    with followed(client, url, headers) as answer:
        if answer.status_code == _NO_SUCH_RANGE:
            if version is not None and answer.headers.get("Content-Range") == f"bytes */{have}":
                return version
            part.unlink(missing_ok=True)
            reason = "the file has become shorter"
            raise _Again(reason)
        _refuse(url, answer)
        if answer.status_code != _PART:
            have = 0
        elif _range_start(answer) != have:
            part.unlink(missing_ok=True)
            reason = "the server sent a different range than requested"
            raise _Again(reason)
        version = _Version(_name(url, answer), _validator(answer), flushed=have)
        total = _announced(answer, have)
        limit = _limit(url, part, total, wanted)
        with writing(part):
            if not have:
                part.unlink(missing_ok=True)
            version.write(note)
            _receive(answer, part, note, version, total, limit)
    return version


def _announced(answer: httpx2.Response, have: int) -> int | None:
    """Size of the whole file in bytes, of which `have` are received; None if the server does not state it."""
    length: str = answer.headers.get("Content-Length", "")
    if not length.isdecimal():
        return None
    return have + int(length)


@dataclass(frozen=True, slots=True)
class _ByteLimit:
    """The largest size that is accepted in bytes, and the error for a larger file."""

    size: int
    passed: ResolutionError


def _limit(url: str, part: Path, announced: int | None, wanted: SourceFile | None) -> _ByteLimit:
    """The accepted size: as in the lock, else as the server announces, else `MOST_UNANNOUNCED`.

    Raises:
        ResolutionError: E430 the server announces another size than the lock has.
    """
    if wanted is not None:
        message = f"{url}: size mismatch: got {announced or 'more'} bytes, the lock expects {wanted.size}"
        other = ResolutionError.of("E430", message, _REPLACED)
        if announced not in (None, wanted.size):
            part.unlink(missing_ok=True)
            raise other
        return _ByteLimit(wanted.size, other)
    by_hand = "download it by hand and give its path"
    if announced is not None:
        message = f"{url}: the server sent more than the {announced} bytes that it announced"
        hint = f"the server or a proxy is at fault; {by_hand}"
        return _ByteLimit(announced, ResolutionError.of("E437", message, hint))
    message = f"{url}: the server does not state the file's size, and sent more than {MOST_UNANNOUNCED} bytes"
    return _ByteLimit(MOST_UNANNOUNCED, ResolutionError.of("E438", message, by_hand))


def _receive(
    answer: httpx2.Response, part: Path, note: Path, version: _Version, total: int | None, limit: _ByteLimit
) -> None:
    meter, have = access().meter, version.flushed
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)

    def keep() -> None:
        nonlocal version
        system.flush(descriptor)
        version = replace(version, flushed=have)
        version.write(note)

    try:
        os.ftruncate(descriptor, have)
        os.lseek(descriptor, have, os.SEEK_SET)
        try:
            # As received: bytes that are gathered into larger blocks are lost when the connection drops.
            for block in answer.iter_raw():
                if have + len(block) > limit.size:
                    part.unlink(missing_ok=True)
                    raise limit.passed
                write_all(descriptor, block)
                have += len(block)
                meter.downloading(version.name, have, total)
                if have - version.flushed >= min(_FLUSH_BYTES, max(_FEW_BYTES, version.flushed // 4)):
                    keep()
        except httpx2.TransportError:
            keep()
            raise
        keep()
    finally:
        os.close(descriptor)
    if total is not None and have < total:
        reason = f"the connection ended after {have} of {total} bytes"
        raise _Again(reason)


def _refuse(url: str, answer: httpx2.Response) -> None:
    """Raise the problem that an answer without a file means."""
    status = answer.status_code
    if status in BUSY:
        wait = answer.headers.get("Retry-After", "")
        reason = f"the server answers with status {status}"
        if wait.isdecimal():
            raise _Again(reason, float(wait))
        raise _Again(reason)
    page = answer.headers.get("Content-Type", "").lower().startswith("text/html")
    if answer.is_success:
        if page:
            raise ResolutionError.of("E438", f"{url}: the server answers with a web page", _login_hint(url))
        return
    if status in (401, 403) or page:
        message = f"{url}: the server refuses access (status {status})"
        raise ResolutionError.of("E438", message, _login_hint(url))
    message = f"{url}: the server answers with status {status}"
    raise ResolutionError.of("E438", message, "check the address in a browser")


def _login_hint(url: str) -> str:
    if _is_civitai(urlsplit(url).hostname or ""):
        return "put a Civitai API key into the environment variable CIVITAI_TOKEN"
    return "the file may need a login; download it by hand and give its path"


def _headers(url: str) -> dict[str, str]:
    """Headers of every request. A token goes only to its own origin: httpx drops it on a redirect to another."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "recipe-runner"}
    host = urlsplit(url).hostname or ""
    token = None
    if _is_civitai(host):
        token = os.environ.get("CIVITAI_TOKEN") or os.environ.get("CIVITAI_API_TOKEN")
    elif _is_of_hub(url):
        token = get_token()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _is_of_hub(url: str) -> bool:
    """Whether a URL has the Hub's origin: scheme, host and port."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        return httpx2.URL(url).origin == httpx2.URL(endpoint).origin
    except (httpx2.InvalidURL, ValueError):
        return False


def _is_civitai(host: str) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in CIVITAI)


def _validator(answer: httpx2.Response) -> str | None:
    """The validator of the file's version: a strong ETag, else the time of its last change."""
    etag: str = answer.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return answer.headers.get("Last-Modified")


def _name(url: str, answer: httpx2.Response) -> str:
    """The file's name from the server, else the last part of the URL's path."""
    message = Message()
    message["Content-Disposition"] = answer.headers.get("Content-Disposition", "")
    given = message.get_filename()
    return plain_name(given or unquote(urlsplit(url).path))


def _range_start(answer: httpx2.Response) -> int:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if found is None:
        return -1
    return int(found[1])


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _reason(error: Exception) -> str:
    return re.sub(r"https?://\S+", "…", str(error)) or type(error).__name__
