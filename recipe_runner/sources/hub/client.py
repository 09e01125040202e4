"""The Hub through huggingface_hub's client, with its cache, endpoint, tokens and retries; its errors as problems.

Each call passes endpoint and cache to the client, so that the environment of the call counts, and not the environment
when the client was imported.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx2
from huggingface_hub import HfApi, get_token, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]
from huggingface_hub.utils import tqdm as hub_bar  # type: ignore[attr-defined]

from recipe_runner.disk.atomic import writing
from recipe_runner.disk.inside import is_plain_path
from recipe_runner.problems.problem import ResolutionError
from recipe_runner.sources.access import Meter, NoMeter, access, is_online
from recipe_runner.sources.connection import check_connection
from recipe_runner.sources.hub.cache import Listed, cached_listing, hub_cache, is_as_listed
from recipe_runner.sources.hub.repository import Repository
from recipe_runner.sources.redirects import check_request, followed
from recipe_runner.sources.url.ranges import read_range

WORKERS = 8
"""Files that are fetched at once, the same number as in huggingface_hub."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


def look_up(address: str, revision: str | None) -> str:
    """The current commit of a branch or tag on the Hub (`main` when None).

    Raises:
        ResolutionError: E433 to E436.
    """
    with _explained(address, revision):
        # The client's own look-up silently falls back to the cache.
        sha = _api().repo_info(address, revision=revision).sha
        if sha is None:
            raise ResolutionError.of(
                "E436", f"{address}: the Hub names no commit for {revision or 'main'}", "try again later"
            )
        # Stores the commit in the cache.
        return _api().resolve_revision(address, revision=revision, cache_dir=hub_cache()).resolved


def fetch_listing(address: str, revision: str | None, commit: str) -> Mapping[str, Listed]:
    """All files of a commit; the listing is stored in the client's cache.

    Raises:
        ResolutionError: E433 to E436.
    """
    with _explained(address, revision):
        # No file has this name: only the listing is wanted.
        snapshot_download(
            address,
            revision=commit,
            allow_patterns=[" "],
            cache_dir=hub_cache(),
            endpoint=_endpoint(),
            tqdm_class=_bar(NoMeter(), ""),
        )
        listing = cached_listing(address, commit)
        if listing is not None:
            return listing
        # The cache cannot be written.
        listing = {}
        for file in _api().list_repo_tree(address, revision=commit, recursive=True):
            if isinstance(file, RepoFile) and is_plain_path(file.path):
                sha256 = None
                if file.lfs is not None:
                    sha256 = file.lfs.sha256
                listing[file.path] = Listed(file.size, sha256, file.blob_id)
        return listing


def download(repository: Repository, names: Sequence[str]) -> None:
    """Fetch files of a commit into the Hub's cache, several at once, and check the digest of each.

    A file whose bytes do not match the commit is fetched once more.

    Raises:
        ResolutionError: E433 to E436; E437 a file arrives broken twice.
        RecordError: E801 a file cannot be written.
    """
    granted = access()
    fetch = partial(_download_one, repository, granted.meter)
    with writing(hub_cache()), _explained(repository.address, repository.revision), ThreadPoolExecutor(WORKERS) as pool:
        pending = [pool.submit(fetch, name) for name in names]
        try:
            for each in pending:
                each.result()
        finally:
            for each in pending:
                each.cancel()


def _download_one(repository: Repository, meter: Meter, name: str) -> None:
    listed = repository.listing.get(name)
    for again in (False, True):
        path = repository.cached / name
        hf_hub_download(
            repository.address,
            name,
            revision=repository.commit,
            cache_dir=hub_cache(),
            endpoint=_endpoint(),
            force_download=again,
            tqdm_class=_bar(meter, name),
        )
        if listed is None or is_as_listed(path, listed, partial(meter.hashing, name)):
            return
    # In the cache, it would be taken for the right file.
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    message = f"{repository.address}: {name} arrived twice with other bytes than commit {repository.commit[:12]} has"
    raise ResolutionError.of("E437", message, "a proxy or a full disk may be at fault; try again later")


def fetch_range(repository: Repository, name: str, first: int, last: int) -> bytes:
    """Bytes `first` to `last` of a file of a commit; fewer if it ends before.

    Raises:
        ResolutionError: E433 to E436, E443.
    """
    url = hf_hub_url(repository.address, name, revision=repository.commit, endpoint=_endpoint())
    wanted = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
    headers = {**build_hf_headers(library_name="recipe_runner"), **wanted}
    with (
        _explained(repository.address, repository.revision),
        followed(get_session(), url, headers) as answer,
    ):
        hf_raise_for_status(answer)
        return read_range(answer, first, last)


def fetch_small(repository: Repository, name: str) -> None:
    """Fetch a configuration into the Hub's cache."""
    with writing(hub_cache()), _explained(repository.address, repository.revision):
        _download_one(repository, NoMeter(), name)


def _bar(meter: Meter, name: str) -> type[hub_bar]:
    """A progress bar that shows nothing itself and reports to `meter`."""

    class MeterBar(hub_bar):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._done, self._whole = options.get("initial") or 0, options.get("total")
            super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            meter.downloading(name, self._done, self._whole)
            return None

    return MeterBar


@contextmanager
def _checked_redirects() -> Iterator[None]:
    """Check every request of the client's session, which follows redirects itself and is shared by its threads."""
    session = get_session()
    before = session.event_hooks
    check = partial(check_request, _endpoint() or ENDPOINT)
    session.event_hooks = {**before, "request": [*before.get("request", ()), check]}
    try:
        yield
    finally:
        session.event_hooks = before


_WRONG_SIZE = "Consistency check failed"
"""The beginning of the client's message for a file of the wrong size; it has no error class for that."""


@contextmanager
def _explained(address: str, revision: str | None) -> Iterator[None]:
    """Turn the client's errors into problems that say what to do, and hold back its log lines."""
    check_connection()
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with _checked_redirects():
            yield
    except (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        HFValidationError,
        httpx2.HTTPError,
    ) as error:
        code, message, hint = _explanation(error, address, revision)
        raise ResolutionError.of(code, f"{address}: {message}", hint) from error
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise
        if _WRONG_SIZE in str(error):
            hint = "the connection was cut or a proxy is at fault; try again"
            raise ResolutionError.of("E437", f"{address}: a file arrived with the wrong size", hint) from error
        message = f"{address}: the Hub cannot be reached ({error.strerror or type(error).__name__})"
        raise ResolutionError.of("E436", message, "check the network and HF_ENDPOINT, or run with --offline") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # The client raises these for a web page, or for other JSON.
        message = f"{address}: the answer is not from the Hub ({type(error).__name__})"
        hint = "a proxy's login page may be in between: open the address in a browser, and check HF_ENDPOINT"
        raise ResolutionError.of("E436", message, hint) from error
    finally:
        logger.setLevel(level)


def _explanation(error: Exception, address: str, revision: str | None) -> tuple[str, str, str]:
    """The code, message and hint for an error of the client."""
    # Without the user and password that the endpoint may contain.
    page = re.sub(r"^(\w+://)?[^/]*@", r"\1", f"{_endpoint() or 'https://huggingface.co'}/{address}")
    has_token = get_token() is not None
    if isinstance(error, GatedRepoError):
        hint = f"accept its terms on {page}, then log in with `hf auth login` or set HF_TOKEN"
        if has_token:
            hint = f"the account of your token has no access yet: ask for it on {page}"
        return "E433", "the repository is gated", hint
    if isinstance(error, RepositoryNotFoundError):
        hint = "check the spelling; for a private repository log in with `hf auth login` or set HF_TOKEN"
        if has_token:
            hint = "check the spelling; the account of your token may not have access"
        return "E434", "the Hub has no such repository, or it is private", hint
    if isinstance(error, RevisionNotFoundError):
        message = f"the repository has no branch, tag or commit {revision or 'main'}"
        return "E435", message, f"its branches and tags are listed on {page}"
    for kind, explanation in _EXPLANATIONS:
        if isinstance(error, kind):
            return explanation
    if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
        return "E434", f"the Hub refuses access ({_reason(error)})", "check your token with `hf auth whoami`"
    return "E436", f"the Hub cannot be reached ({_reason(error)})", _REACH


_EXPLANATIONS = (
    (RemoteEntryNotFoundError, ("E435", "the commit no longer has a file that it listed", "lock the recipe again")),
    (HFValidationError, ("E405", "not a Hub repository id", "write organisation/name")),
)
_REACH = "try again later; with --offline, the files in the cache are used"


def _reason(error: BaseException) -> str:
    """The innermost reason, without addresses, which may contain a signature."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"it answered with status {response.status_code}"
    if isinstance(error, OfflineModeIsEnabled) or not is_online():
        return "HF_HUB_OFFLINE is set"
    cause = error.__cause__ or error.__context__
    if isinstance(error, LocalEntryNotFoundError) and cause is not None:
        return _reason(cause)
    return re.sub(r"https?://\S+", "…", str(error)).splitlines()[0] or type(error).__name__


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _api() -> HfApi:
    return HfApi(endpoint=_endpoint(), library_name="recipe_runner")
