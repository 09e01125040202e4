"""Find the file of a URL: in the cache, or downloaded now if that is allowed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from recipe_runner.problems.credentials import credential_in
from recipe_runner.problems.problem import ResolutionError
from recipe_runner.recipe.rules.secrets import HINT, secret_message
from recipe_runner.sources.access import access
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.sources.source import SourceFile
from recipe_runner.sources.url.cache import downloaded_path, recall


def find_url(url: str) -> Path:
    """The file of `url`, downloaded now if that is allowed; of a pinned URL, the file that the lock names.

    Raises:
        SourceMissing: E403 it was not downloaded, and nothing may be downloaded.
        ResolutionError: E439 the URL contains a secret; E430, E436 to E438 it cannot be downloaded.
        RecordError: E801 it cannot be written to the cache.
    """
    _refuse_secrets(url)
    granted = access()
    wanted = _pinned(url)
    path = _cached(url, wanted)
    if path is not None:
        return _used(path)
    if not granted.may_fetch(url):
        raise SourceMissing.of("E403", f"{url}: not downloaded yet", "`recipe-runner fetch` downloads it")
    if granted.headers:
        from recipe_runner.sources.headers_only import bring_url  # noqa: PLC0415 - imports an HTTP client

        return bring_url(url)
    from recipe_runner.sources.url.download import download_url  # noqa: PLC0415 - imports an HTTP client

    return download_url(url, wanted)


def _pinned(url: str) -> SourceFile | None:
    """The one file that a lock names for the URL."""
    pin = access().pins.get((url, None))
    if pin is None or len(pin.files) != 1:
        return None
    return pin.files[0]


def _cached(url: str, wanted: SourceFile | None) -> Path | None:
    """The file in the cache: the pinned one, else the last one that the URL gave."""
    if wanted is not None:
        path = downloaded_path(wanted.sha256, wanted.name)
        if path.is_file() and path.stat().st_size == wanted.size:
            return path
        return None
    record = recall(url)
    if record is None or (access().newest and access().may_fetch(url)):
        return None
    return downloaded_path(record.sha256, record.name)


def _used(path: Path) -> Path:
    """Note on the folder of `path` when it was last used, for `gc`; on the file, that would change its identity."""
    # A cache that cannot be written is not a reason to fail.
    with suppress(OSError):
        os.utime(path.parent)
    return path


def _refuse_secrets(url: str) -> None:
    """Raise E439 with the name of the parameter, never with its value."""
    what = credential_in(url)
    if what:
        raise ResolutionError.of("E439", f"{url}: {secret_message(what)}", HINT)
