"""Headers in the place of files: what a recipe's sources hold is told for a few hundred kilobytes.

A stand-in is a file with the true header and the true size of a safetensors file, whose tensors are a hole: it takes no
room, and everything that planning asks of the file is answered by it. Stand-ins lie by commit in a folder of their own,
apart from the Hub's cache, and nothing but a check reads them. Configurations come whole, and into the Hub's cache.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from recipe_runner.disk.atomic import LEFTOVER_SUFFIX, make_folder, put_in_place, write_file
from recipe_runner.disk.inside import inside
from recipe_runner.problems.problem import Problem
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
"""Bytes of the first request: the headers of most adapters are shorter, and no other request is then needed."""
_SMALL_BYTES = 100_000
_INDEX_BYTES = 8_000_000
_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt")


def bring(repository: Repository, names: Sequence[str]) -> None:
    """Put stand-ins of these files of a commit in their folder; what the Hub's cache has already is linked there.

    Raises:
        SourceMissing: E402 a pickled file, which has no header.
        ResolutionError: E433 to E437 they cannot be fetched.
        RecordError: E801 they cannot be written.
    """
    # What may be reached is known to this thread only, and so is where stand-ins lie.
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(partial(_bring_one, repository, repository.snapshot), names))


def _bring_one(repository: Repository, folder: Path, name: str) -> None:
    target, real = inside(folder, name, replaced=True), repository.cached / name
    make_folder(target.parent)
    listed = repository.listing.get(name)
    if name.endswith(_WEIGHTS) and not real.is_file():
        raise partly_here(repository.address, repository.revision, f"{name} is pickled and has no header to read")
    if name.endswith(".safetensors") and not real.is_file():
        if listed is None:
            raise partly_here(repository.address, repository.revision, f"the size of {name} is not known")
        _write(target, _header(repository, name, listed.size), listed.size)
        return
    if not real.is_file():
        most = _INDEX_BYTES if ".index." in name else _SMALL_BYTES
        if not name.endswith(".json") or (listed is not None and listed.size > most):
            # Vocabularies and merges: only how long a prompt is needs them, and that is then not told.
            _write(target, b"", listed.size if listed is not None else 0)
            return
        fetch_small(repository, name)
    aside = _aside(target)
    aside.symlink_to(real.absolute())
    put_in_place(aside, target)


def _header(repository: Repository, name: str, size: int) -> bytes:
    """The first bytes of a file up to the end of its header; of a broken file just the first."""
    head = fetch_range(repository, name, 0, min(FIRST_BYTES, size) - 1) if size else b""
    wanted = _header_end(head, size)
    if wanted > len(head):
        head += fetch_range(repository, name, len(head), wanted - 1)
    return head[: max(wanted, LENGTH_BYTES)]


def _header_end(head: bytes, size: int) -> int:
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    end = LENGTH_BYTES + length
    return end if length <= MAX_HEADER_BYTES and end <= size and format_of(head, size) == "safetensors" else len(head)


def bring_url(url: str) -> Path:
    """A stand-in of the safetensors file at `url`.

    Raises:
        SourceMissing: E403 the file is of another format, or its size is not told.
        ResolutionError: E436, E438 it cannot be reached.
        RecordError: E801 it cannot be written.
    """
    with ranged(url, 0, FIRST_BYTES - 1) as (answer, name):
        head, size = read_range(answer, 0, FIRST_BYTES - 1), whole_size(answer)
    if size is None or format_of(head, size) != "safetensors":
        message = f"{url}: not downloaded yet, and what it is cannot be told from its first bytes"
        raise SourceMissing(Problem(code="E403", message=message, hint="`recipe-runner fetch` downloads it"))
    wanted = _header_end(head, size)
    if wanted > len(head):
        with ranged(url, len(head), wanted - 1) as (answer, _):
            head += read_range(answer, len(head), wanted - 1)
    target = inside(cache_folder() / "headers", f"urls/{record_path(url).stem}/{name}", replaced=True)
    make_folder(target.parent)
    _write(target, head[: max(wanted, LENGTH_BYTES)], size)
    return target


def _write(target: Path, head: bytes, size: int) -> None:
    aside = _aside(target)
    write_file(aside, head, durable=False)
    os.truncate(aside, size)
    put_in_place(aside, target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{LEFTOVER_SUFFIX}")
