"""The Hub through huggingface_hub's client: its cache, endpoint, tokens and retries; what it refuses, explained.

The client is told endpoint and cache at each call, so that what the environment says now counts, and not what it said
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
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.sources.access import Meter, NoMeter, access, is_online
from recipe_runner.sources.connection import check_connection
from recipe_runner.sources.hub.cache import Listed, cached_listing, hub_cache, is_as_listed
from recipe_runner.sources.hub.repository import Repository
from recipe_runner.sources.redirects import followed
from recipe_runner.sources.url.ranges import read_range

WORKERS = 8
"""Files that are fetched at once, as many as huggingface_hub takes itself."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


def look_up(address: str, revision: str | None) -> str:
    """The commit that a branch or tag names on the Hub now (`main` when None).

    Raises:
        ResolutionError: E433 to E436.
    """
    with _explained(address, revision):
        # The client's own look-up falls back to what the cache remembers, and does not say so.
        sha = _api().repo_info(address, revision=revision).sha
        if sha is None:
            raise _refused("E436", f"{address}: the Hub names no commit for {revision or 'main'}", "try again later")
        # Lets the cache remember it.
        return _api().resolve_revision(address, revision=revision, cache_dir=hub_cache()).resolved


def fetch_listing(address: str, revision: str | None, commit: str) -> Mapping[str, Listed]:
    """All files of a commit; the client's cache keeps the listing.

    Raises:
        ResolutionError: E433 to E436.
    """
    with _explained(address, revision):
        # No file has this name: it is the listing that is wanted.
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
        # A cache that cannot be written keeps nothing.
        return {
            file.path: Listed(file.size, file.lfs.sha256 if file.lfs else None, file.blob_id)
            for file in _api().list_repo_tree(address, revision=commit, recursive=True)
            if isinstance(file, RepoFile) and is_plain_path(file.path)
        }


def download(repository: Repository, names: Sequence[str]) -> None:
    """Fetch files of a commit into the Hub's cache, several at once, and prove each by its digest.

    A file that comes with other bytes than the commit lists is fetched once more.

    Raises:
        ResolutionError: E433 to E436; E437 when a file comes broken twice.
        RecordError: E801 when it cannot be written.
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
    # Left in the cache, it would be taken for the file that its name promises.
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    message = f"{repository.address}: {name} came twice with other bytes than commit {repository.commit[:12]} has"
    raise _refused("E437", message, "a proxy or a full disk may be at fault; try again later")


def fetch_range(repository: Repository, name: str, first: int, last: int) -> bytes:
    """Bytes `first` to `last` of a file of a commit; fewer where it ends before.

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
    """A progress bar that shows nothing itself and tells `meter`."""

    class Bar(hub_bar):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._done, self._whole = options.get("initial") or 0, options.get("total")
            super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            meter.downloading(name, self._done, self._whole)
            return None

    return Bar


_WRONG_SIZE = "Consistency check failed"
"""How the client begins to say that a file has another size than it should have; it has no class for that."""


@contextmanager
def _explained(address: str, revision: str | None) -> Iterator[None]:
    """The client's errors as problems that say what to do; its log lines are held back."""
    check_connection()
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        HFValidationError,
        httpx2.HTTPError,
    ) as error:
        raise _explanation(error, address, revision) from error
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise
        if _WRONG_SIZE in str(error):
            hint = "the connection was cut or a proxy is at fault; try again"
            raise _refused("E437", f"{address}: a file came with another size than it should have", hint) from error
        message = f"{address}: the Hub cannot be reached ({error.strerror or type(error).__name__})"
        raise _refused("E436", message, "check the network and HF_ENDPOINT, or run with --offline") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # What the client makes of an answer that is a page, or some other JSON.
        message = f"{address}: what answers is not the Hub ({type(error).__name__})"
        hint = "a proxy's login page may be in between: open the address in a browser, and check HF_ENDPOINT"
        raise _refused("E436", message, hint) from error
    finally:
        logger.setLevel(level)


def _explanation(error: Exception, address: str, revision: str | None) -> ResolutionError:
    # Without a user and password, which may stand in the endpoint.
    page = re.sub(r"^(\w+://)?[^/]*@", r"\1", f"{_endpoint() or 'https://huggingface.co'}/{address}")
    has_token = get_token() is not None
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError):
        hint = f"accept its terms on {page}, then log in with `hf auth login` or set HF_TOKEN"
        if has_token:
            hint = f"the account of your token has no access yet: ask for it on {page}"
        found = ("E433", "the repository is gated", hint)
    elif isinstance(error, RepositoryNotFoundError):
        hint = "check the spelling; " + (
            "the account of your token may not see it"
            if has_token
            else "for a private repository log in with `hf auth login` or set HF_TOKEN"
        )
        found = ("E434", "the Hub has no such repository, or it is private", hint)
    elif isinstance(error, RevisionNotFoundError):
        hint = f"its branches and tags are listed on {page}"
        found = ("E435", f"the repository has no branch, tag or commit {revision or 'main'}", hint)
    elif isinstance(error, RemoteEntryNotFoundError):
        found = ("E435", "the commit no longer has a file that it listed", "lock the recipe anew")
    elif isinstance(error, HFValidationError):
        found = ("E405", "not a Hub repository id", "write organisation/name")
    elif status in (401, 403):
        found = ("E434", f"the Hub refuses access ({_reason(error)})", "check your token with `hf auth whoami`")
    else:
        found = ("E436", f"the Hub cannot be reached ({_reason(error)})", _REACH)
    code, message, hint = found
    return _refused(code, f"{address}: {message}", hint)


_REACH = "try again later; what is in the cache already is used with --offline"


def _reason(error: BaseException) -> str:
    """The innermost reason, without addresses that may carry a signature."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"it answered with status {response.status_code}"
    if isinstance(error, OfflineModeIsEnabled) or not is_online():
        return "HF_HUB_OFFLINE is set"
    cause = error.__cause__ or error.__context__
    if isinstance(error, LocalEntryNotFoundError) and cause is not None:
        return _reason(cause)
    return re.sub(r"https?://\S+", "…", str(error)).splitlines()[0] or type(error).__name__


def _refused(code: str, message: str, hint: str) -> ResolutionError:
    return ResolutionError(Problem(code=code, message=message, hint=hint))


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _api() -> HfApi:
    return HfApi(endpoint=_endpoint(), library_name="recipe_runner")
