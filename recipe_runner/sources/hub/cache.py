"""The Hub's cache on this machine, read without the network and without importing huggingface_hub.

The layout is huggingface_hub's own: in `models--org--name`, `refs/<revision>` holds a commit, `snapshots/<commit>/` its
files, and `trees/<commit>.json` (format 1) the names, sizes and digests of all files that the commit has.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.canonical import parse_json
from recipe_runner.disk.home import expanded, home_folder
from recipe_runner.disk.inside import is_plain_path
from recipe_runner.weights.files.digests import Progress, file_sha256, is_unhashed

COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as a commit lists it: its size, and the sha256 of a large file or git's id of a small one."""

    size: int
    sha256: str | None
    blob: str | None


def hub_cache() -> Path:
    """The cache folder, as huggingface_hub finds it from `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME`."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if chosen := os.environ.get(variable):
            return expanded(os.path.expandvars(chosen))
    if home := os.environ.get("HF_HOME"):
        return expanded(os.path.expandvars(home)) / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or str(home_folder() / ".cache")
    return expanded(cache) / "huggingface" / "hub"


def repository_folder(repository: str) -> Path:
    """The folder of `repository` in the cache, whether it exists or not."""
    return hub_cache() / f"models--{repository.replace('/', '--')}"


def cached_commit(repository: str, revision: str | None = None) -> str | None:
    """The commit that `revision` (a branch, tag or commit; `main` when None) named when it was last looked up."""
    revision = revision or "main"
    if COMMIT.fullmatch(revision):
        return revision
    if ".." in Path(revision).parts or Path(revision).is_absolute():
        return None
    try:
        commit = (repository_folder(repository) / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    if not COMMIT.fullmatch(commit):
        return None
    return commit


def cached_listing(repository: str, commit: str) -> Mapping[str, Listed] | None:
    """All files of a commit; None if the cache does not know them, or its file is damaged."""
    try:
        tree = parse_json((repository_folder(repository) / "trees" / f"{commit}.json").read_bytes())
        if tree["format_version"] != 1:
            return None
        files = tree["files"].items()
        return {name: _listed(entry) for name, entry in files if is_plain_path(name)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _listed(entry: Mapping[str, object]) -> Listed:
    size = entry.get("lfs_size")
    if size is None:
        size = entry["size"]
    return Listed(
        size=int(str(size)),
        sha256=_matching(entry.get("lfs_sha256"), _SHA256),
        blob=_matching(entry["blob_id"], COMMIT),
    )


def _matching(value: object, form: re.Pattern[str]) -> str | None:
    """A text of this form; None for anything else."""
    if isinstance(value, str) and form.fullmatch(value):
        return value
    return None


def listed_on_disk(snapshot: Path) -> list[str]:
    """Names of the files of a snapshot on this machine, sorted."""
    return sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())


def is_as_listed(path: Path, listed: Listed, progress: Progress | None = None) -> bool:
    """Whether a file matches what the commit lists, by its digest. The Hub's client compares sizes only.

    Raises:
        WeightsError: E401, E414, E415 as `file_sha256`.
    """
    if path.stat().st_size != listed.size:
        return False
    if is_unhashed():
        return True
    if listed.sha256 is not None:
        return file_sha256(path, progress) == listed.sha256
    if listed.blob is None:
        return True
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == listed.blob
