"""Download a URL into the cache: streamed, resumed where it stopped, proved, and put in place in one step.

What has come lies in `urls/incoming/<digest of the URL>.part`, beside it which version of the file it is the beginning
of; a download that was cut off, in this process or an earlier one, goes on from there with `Range` and `If-Range`. Two
processes that want one URL take turns, and the second finds what the first brought.
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
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2
from huggingface_hub import get_token

from recipe_runner.canonical import parse_json
from recipe_runner.disk.atomic import make_folder, put_in_place, system, write_file, writing
from recipe_runner.disk.lock import hold_lock
from recipe_runner.problems.problem import Problem, ResolutionError
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
"""How often in a row a download may bring nothing before it is given up."""
BUSY = (408, 425, 429, 500, 502, 503, 504)
_PART, _NO_SUCH_RANGE = 206, 416
_FLUSH_BYTES = 64 << 20
"""How much a killed download loses at the most; of a small file a quarter of what has come, or `_FEW_BYTES`."""
_FEW_BYTES = 256 << 10
MOST_UNANNOUNCED = 4 << 30
"""Bytes of a file whose size neither a lock nor the server says."""
_LONGEST_WAIT = 60.0
_TIMEOUT = httpx2.Timeout(30.0, connect=15.0)
CIVITAI = ("civitai.com", "civitai.red", "civitai.green")
"""Hosts of one service, with the same addresses and accounts."""
sleep = time.sleep


class _Again(Exception):
    """The attempt brought the download no further, or not to its end; `wait` is in seconds where the server says so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class _Version:
    """Which version of the file is coming: its name, and what the server says to tell versions apart.

    `flushed` bytes of it are on the disk for good. What came after them may be nothing but zeros once the power has
    failed, and is asked for again.
    """

    name: str
    validator: str | None
    flushed: int = 0

    def write(self, path: Path) -> None:
        """Remember it beside what has come."""
        write_file(path, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, path: Path) -> _Version | None:
        """What is remembered."""
        try:
            tree = parse_json(path.read_bytes())
            return cls(str(tree["name"]), tree["validator"], int(tree["flushed"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def download_url(url: str, wanted: SourceFile | None = None) -> Path:
    """Bring the file at `url` and return where it lies; `wanted` is what a lock says that it must be.

    Raises:
        ResolutionError: E430 it is not what the lock names, E436 the server cannot be reached or stays busy, E437 what
            comes is cut short or too long, E438 the server refuses, E443 it redirects to where none is followed.
        RecordError: E801 it cannot be written.
    """
    check_connection()
    key = record_path(url).stem
    incoming = urls_folder() / "incoming"
    with hold_lock(incoming / f"{key}.lock", wait=True):
        if wanted is not None:
            standing = downloaded_path(wanted.sha256, wanted.name)
            if standing.is_file() and file_sha256(standing) == wanted.sha256:
                return standing
        elif not access().newest and (given := recall(url)) is not None:
            return downloaded_path(given.sha256, given.name)
        part = incoming / f"{key}.part"
        version = _bring(url, part, incoming / f"{key}.json", None if wanted is None else wanted.size)
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
        raise ResolutionError(Problem(code="E436", message=message, hint="try again later")) from error


def _keep(url: str, part: Path, version: _Version, wanted: SourceFile | None) -> Path:
    """Prove what has come, put it in place, and remember that the URL gave it."""
    meter = access().meter
    sha256 = file_sha256(part, lambda done, total: meter.hashing(version.name, done, total))
    if wanted is not None and sha256 != wanted.sha256:
        part.unlink()
        message = f"{url}: what comes has the sha256 {sha256[:12]}…, and the lock names {wanted.sha256[:12]}…"
        hint = "somebody replaced the file; `recipe-runner lock --upgrade` accepts the new one"
        raise ResolutionError(Problem(code="E430", message=message, hint=hint))
    record = UrlRecord(url=url, name=wanted.name if wanted else version.name, size=part.stat().st_size, sha256=sha256)
    target = downloaded_path(sha256, record.name)
    make_folder(target.parent)
    put_in_place(part, target)
    make_folder(record_path(url).parent)
    write_file(record_path(url), record_bytes(record))
    return target


def _bring(url: str, part: Path, note: Path, size: int | None) -> _Version:
    """Attempt after attempt until the file is whole."""
    failures = 0
    with httpx2.Client(timeout=_TIMEOUT, headers=_headers(url)) as client:
        while True:
            before = _size(part)
            try:
                return _attempt(client, url, part, note, size)
            except (_Again, httpx2.TransportError) as error:
                failures = 1 if _size(part) > before else failures + 1
                if failures >= ATTEMPTS:
                    message = f"{url}: cannot be downloaded ({_reason(error)})"
                    hint = "try again later; what has come is kept and the download goes on from there"
                    raise ResolutionError(Problem(code="E436", message=message, hint=hint)) from error
                wait = error.wait if isinstance(error, _Again) and error.wait is not None else 2.0 ** (failures - 1)
                sleep(min(wait, _LONGEST_WAIT))


def _attempt(client: httpx2.Client, url: str, part: Path, note: Path, size: int | None) -> _Version:
    version, have = _Version.read(note), 0
    headers = {}
    if version is not None and version.validator and (have := min(_size(part), version.flushed)):
        headers = {"Range": f"bytes={have}-", "If-Range": version.validator}
    with followed(client, url, headers) as answer:
        if answer.status_code == _NO_SUCH_RANGE:
            if version is not None and answer.headers.get("Content-Range") == f"bytes */{have}":
                return version
            part.unlink(missing_ok=True)
            message = "the file has become shorter"
            raise _Again(message)
        _refuse(url, answer)
        if answer.status_code != _PART:
            have = 0
        elif _range_start(answer) != have:
            part.unlink(missing_ok=True)
            message = "the server sent another range than was asked for"
            raise _Again(message)
        version = _Version(_name(url, answer), _validator(answer))
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdecimal() else None
        limit = _limit(url, part, total, size)
        with writing(part):
            if not have:
                part.unlink(missing_ok=True)
            version = replace(version, flushed=have)
            version.write(note)
            _receive(answer, part, note, version, total, limit)
    return version


@dataclass(frozen=True, slots=True)
class _Limit:
    """How many bytes are taken at the most, and the error when more come."""

    size: int
    passed: ResolutionError


def _limit(url: str, part: Path, announced: int | None, locked: int | None) -> _Limit:
    """How much of a file is taken: what the lock names, else what the server announces, else `MOST_UNANNOUNCED`.

    Raises:
        ResolutionError: E430 the server announces another size than the lock names.
    """
    if locked is not None:
        message = f"{url}: the lock names a file of {locked} bytes, and {announced or 'more'} come"
        hint = "somebody replaced the file; `recipe-runner lock --upgrade` accepts the new one"
        other = ResolutionError(Problem(code="E430", message=message, hint=hint))
        if announced not in (None, locked):
            part.unlink(missing_ok=True)
            raise other
        return _Limit(locked, other)
    if announced is not None:
        message = f"{url}: more bytes come than the {announced} that the server announced"
        hint = "the server or a proxy is at fault; download it by hand and give its path"
        return _Limit(announced, ResolutionError(Problem(code="E437", message=message, hint=hint)))
    message = f"{url}: the server does not say how large the file is, and more than {MOST_UNANNOUNCED} bytes come"
    hint = "download it by hand and give its path"
    return _Limit(MOST_UNANNOUNCED, ResolutionError(Problem(code="E438", message=message, hint=hint)))


def _receive(
    answer: httpx2.Response, part: Path, note: Path, version: _Version, total: int | None, limit: _Limit
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
            # In the pieces that come: what is gathered into larger ones is lost when the connection drops.
            for block in answer.iter_raw():
                if have + len(block) > limit.size:
                    part.unlink(missing_ok=True)
                    raise limit.passed
                rest = memoryview(block)
                while rest:
                    rest = rest[system.write(descriptor, rest) :]
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
        message = f"the connection ended after {have} of {total} bytes"
        raise _Again(message)


def _refuse(url: str, answer: httpx2.Response) -> None:
    """Raise what an answer that is no file means."""
    status = answer.status_code
    if status in BUSY:
        wait = answer.headers.get("Retry-After", "")
        message = f"the server answers with status {status}"
        raise _Again(message, float(wait) if wait.isdecimal() else None)
    page = answer.headers.get("Content-Type", "").lower().startswith("text/html")
    if answer.is_success and not page:
        return
    host = urlsplit(url).hostname or ""
    if status in (401, 403) or page:
        hint = "the file may need a login; download it by hand and give its path"
        if _is_civitai(host):
            hint = "put a Civitai API key into the environment variable CIVITAI_TOKEN"
        what = "answers with a web page" if page and answer.is_success else f"refuses access (status {status})"
        raise ResolutionError(Problem(code="E438", message=f"{url}: the server {what}", hint=hint))
    message = f"{url}: the server answers with status {status}"
    raise ResolutionError(Problem(code="E438", message=message, hint="check the address in a browser"))


def _headers(url: str) -> dict[str, str]:
    """What every request says. A token goes to its own origin only: httpx drops it on a redirect to another."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "recipe-runner"}
    host = urlsplit(url).hostname or ""
    token = None
    if _is_civitai(host):
        token = os.environ.get("CIVITAI_TOKEN") or os.environ.get("CIVITAI_API_TOKEN")
    elif _is_of_hub(url):
        token = get_token()
    return {**headers, "Authorization": f"Bearer {token}"} if token else headers


def _is_of_hub(url: str) -> bool:
    """Whether a URL is of the Hub's own origin: scheme, host and port."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        return httpx2.URL(url).origin == httpx2.URL(endpoint).origin
    except (httpx2.InvalidURL, ValueError):
        return False


def _is_civitai(host: str) -> bool:
    return host in CIVITAI or host.endswith(tuple(f".{name}" for name in CIVITAI))


def _validator(answer: httpx2.Response) -> str | None:
    """What tells versions of the file apart: a strong ETag, else the time of its last change."""
    etag: str = answer.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return answer.headers.get("Last-Modified")


def _name(url: str, answer: httpx2.Response) -> str:
    """The name that the server gives the file, else the last part of the URL's path."""
    message = Message()
    message["Content-Disposition"] = answer.headers.get("Content-Disposition", "")
    given = message.get_filename()
    return plain_name(given or unquote(urlsplit(url).path))


def _range_start(answer: httpx2.Response) -> int:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _reason(error: Exception) -> str:
    return re.sub(r"https?://\S+", "…", str(error)) or type(error).__name__
