"""Find a repository in the Hub's cache on this machine, without the network and without importing huggingface_hub.

The layout is huggingface_hub's own: in `models--org--name`, `refs/<revision>` holds a commit and `snapshots/<commit>/`
its files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_cache() -> Path:
    """The cache folder, as huggingface_hub finds it from `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME`."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if chosen := os.environ.get(variable):
            return Path(chosen).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache).expanduser() / "huggingface" / "hub"


def find_snapshot(repository: str, revision: str | None = None) -> Path | None:
    """The snapshot folder of `repository` at `revision` (a branch, tag or commit; `main` when None), or None."""
    folder = hub_cache() / f"models--{repository.replace('/', '--')}"
    revision = revision or "main"
    commit = revision if _COMMIT.fullmatch(revision) else _ref(folder, revision)
    if commit is None:
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def _ref(folder: Path, revision: str) -> str | None:
    if ".." in Path(revision).parts or Path(revision).is_absolute():
        return None
    try:
        commit = (folder / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None
