"""Ask git about a recipe: its commit, and its text in a revision. Returns None if git cannot answer; never fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.record.names import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recipe_runner.record.manifest import Git

_SECONDS = 10
# Set inside git hooks; with them git would answer for another repository than the recipe's.
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
# A repository's configuration can name programs to start; asking for its commit must not start them.
_HARMLESS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks")


def read_git(recipe: Path, ignore: Sequence[Path] = ()) -> Git | None:
    """The commit and dirty flag of the repository of `recipe`.

    Dirty means that a tracked file differs from the commit, or that the recipe itself is not tracked. Files below
    `ignore` (the runs, which a run changes itself) do not count, and neither do other untracked files.

    Returns:
        None if git is not installed, the recipe is not in a repository, the repository has no commit or an owner that
        git does not trust, or the answer takes longer than ten seconds.
    """
    # Imported here: reading a revision does not need the types of manifests, which take time to import.
    from recipe_runner.record.manifest import Git  # noqa: PLC0415

    folder = recipe.resolve().parent
    commit = _ask(folder, "rev-parse", "--verify", "HEAD^{commit}")
    top = _ask(folder, "rev-parse", "--show-toplevel")
    if not commit or not top:
        return None
    root = Path(top)
    excluded: list[str] = []
    for path in ignore:
        ignored = path.resolve()
        if ignored != root and ignored.is_relative_to(root):
            excluded.append(f":(top,exclude,literal){ignored.relative_to(root).as_posix()}")
    changed = _ask(root, "status", "--porcelain", "--untracked-files=no", "--", ":/", *excluded)
    tracked = _ask(folder, "ls-files", "--", f":(literal){recipe.resolve().name}")
    if changed is None or tracked is None:
        return None
    return Git(commit=commit, dirty=bool(changed) or not tracked)


def read_revision(revision: str, folder: Path) -> tuple[bytes, Path, str] | None:
    """A file in a revision, named as git does from `folder`: `HEAD~1:recipes/a.yaml`, `HEAD:./a.yaml`.

    Returns:
        The contents (for a run folder those of its manifest), the file's folder in the working tree, which may not
        exist, and the file's name within git. None if git does not find the file.
    """
    name = _ask(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", revision)
    top = _ask(folder, "rev-parse", "--show-toplevel")
    if not name or not top:
        return None
    if _ask(folder, "cat-file", "-t", name) == "tree":
        return read_revision(f"{revision.rstrip('/')}/{MANIFEST}", folder)
    data = _answer(folder, "cat-file", "blob", name)
    if data is None:
        return None
    path = revision.partition(":")[2]
    start = Path(top)
    if path.startswith(("./", "../")):
        start = folder.resolve()
    return data, Path(os.path.normpath(start / path)).parent, revision


def _ask(folder: Path, *arguments: str) -> str | None:
    data = _answer(folder, *arguments)
    if data is None:
        return None
    return data.decode("utf-8", "surrogateescape").strip()


def _answer(folder: Path, *arguments: str) -> bytes | None:
    git = shutil.which("git")
    if git is None:
        return None
    environment = {**os.environ, "LC_ALL": "C"}
    for name in _FOREIGN:
        environment.pop(name, None)
    try:
        answer = subprocess.run(
            [git, *_HARMLESS, "-C", str(folder), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    return answer.stdout
