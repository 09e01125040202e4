"""Fetch headers instead of files, so that a recipe is checked after downloading a few hundred kilobytes.

A stand-in is a file with the true header and size of a safetensors file, whose tensors are a hole in the file: it takes
no disk space, and has everything that planning reads. Stand-ins have their own folder for each commit, apart from the
Hub's cache, and only a check reads them. Configurations are fetched whole, into the Hub's cache.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from recipe_runner.disk.atomic import LEFTOVER_SUFFIX, make_folder, put_in_place, write_file
from recipe_runner.disk.inside import inside
from recipe_runner.sources.hub.client import WORKERS, fetch_range, fetch_small
from recipe_runner.sources.hub.repository import Repository, partly_here
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.sources.url.cache import record_path
from recipe_runner.sources.url.download import ranged
from recipe_runner.sources.url.ranges import read_range, whole_size
from recipe_runner.weights.files.digests import cache_folder
from recipe_runner.weights.files.formats import format_of
from recipe_runner.weights.files.header import LENGTH_BYTES, MAX_HEADER_BYTES

FIRST_BYTES = 32_768
"""Bytes of the first request: the headers of most adapters are shorter and need no second request."""
_SMALL_BYTES = 100_000
_INDEX_BYTES = 8_000_000
_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt")


def bring(repository: Repository, names: Sequence[str]) -> None:
    """Put stand-ins of these files of a commit in their folder; files in the Hub's cache are linked instead.

    Raises:
        SourceMissing: E402 a pickled file, which has no header.
        ResolutionError: E433 to E437 they cannot be fetched.
        RecordError: E801 they cannot be written.
    """
    # The folder of stand-ins depends on `access()`, which other threads do not see.
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(partial(_bring_one, repository, repository.snapshot), names))


def _bring_one(repository: Repository, folder: Path, name: str) -> None:
    target, real = inside(folder, name, replaced=True), repository.cached / name
    make_folder(target.parent)
    listed = repository.listing.get(name)
    if not real.is_file():
        if name.endswith(_WEIGHTS):
            raise partly_here(repository.address, repository.revision, f"{name} is pickled and has no header to read")
        if name.endswith(".safetensors"):
            if listed is None:
                raise partly_here(repository.address, repository.revision, f"the size of {name} is not known")
            _write(target, _header(repository, name, listed.size), listed.size)
            return
        size = 0 if listed is None else listed.size
        if not _is_fetched_whole(name, size):
            _write(target, b"", size)
            return
        fetch_small(repository, name)
    aside = _aside(target)
    aside.symlink_to(real.absolute())
    put_in_place(aside, target)


def _is_fetched_whole(name: str, size: int) -> bool:
    """Whether a file is a configuration. Vocabularies and merges are not fetched, so prompts cannot be measured."""
    if not name.endswith(".json"):
        return False
    if ".index." in name:
        return size <= _INDEX_BYTES
    return size <= _SMALL_BYTES


def _header(repository: Repository, name: str, size: int) -> bytes:
    """The first bytes of a file up to the end of its header; of a broken file only the first request."""
    if not size:
        return b""
    return _whole_header(
        fetch_range(repository, name, 0, min(FIRST_BYTES, size) - 1),
        size,
        partial(fetch_range, repository, name),
    )


def _whole_header(head: bytes, size: int, fetch: Callable[[int, int], bytes]) -> bytes:
    """The bytes up to the end of a header whose first bytes are `head`; `fetch` brings more of the file."""
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    end = LENGTH_BYTES + length
    if length > MAX_HEADER_BYTES or end > size or format_of(head, size) != "safetensors":
        return head
    if end > len(head):
        head += fetch(len(head), end - 1)
    return head[:end]


def bring_url(url: str) -> Path:
    """A stand-in of the safetensors file at `url`.

    Raises:
        SourceMissing: E403 the file has another format, or the server does not report its size.
        ResolutionError: E436, E438 it cannot be reached.
        RecordError: E801 it cannot be written.
    """
    with ranged(url, 0, FIRST_BYTES - 1) as (answer, name):
        head, size = read_range(answer, 0, FIRST_BYTES - 1), whole_size(answer)
    if size is None or format_of(head, size) != "safetensors":
        message = f"{url}: not downloaded yet, and its first bytes do not identify it"
        raise SourceMissing.of("E403", message, "`recipe-runner fetch` downloads it")
    head = _whole_header(head, size, partial(_url_range, url))
    target = inside(cache_folder() / "headers", f"urls/{record_path(url).stem}/{name}", replaced=True)
    make_folder(target.parent)
    _write(target, head, size)
    return target


def _url_range(url: str, first: int, last: int) -> bytes:
    with ranged(url, first, last) as (answer, _):
        return read_range(answer, first, last)


def _write(target: Path, head: bytes, size: int) -> None:
    aside = _aside(target)
    write_file(aside, head, durable=False)
    os.truncate(aside, size)
    put_in_place(aside, target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{LEFTOVER_SUFFIX}")
