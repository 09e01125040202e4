"""What git itself says of a recipe: its commit, and its text in a revision. No answer is None, never a failure."""

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
# Set inside git's own hooks, where they would answer for another repository than the recipe's.
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
# A repository's own configuration may name programs to start; asking for its commit must start none.
_HARMLESS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks")


def read_git(recipe: Path, ignore: Sequence[Path] = ()) -> Git | None:
    """The commit and dirty flag of the repository that `recipe` lies in.

    Dirty means that a tracked file differs from the commit, or that the recipe itself is not tracked. Files below
    `ignore` (the runs, which a run changes itself) do not count, and neither do other untracked files.

    Returns:
        None when git is not installed, the recipe lies in no repository, the repository has no commit or belongs to
        somebody whom git does not trust, or the answer takes longer than ten seconds.
    """
    # Here, because reading a revision needs no types of manifests, which take time to import.
    from recipe_runner.record.manifest import Git  # noqa: PLC0415

    folder = recipe.resolve().parent
    commit = _ask(folder, "rev-parse", "--verify", "HEAD^{commit}")
    top = _ask(folder, "rev-parse", "--show-toplevel")
    if not commit or not top:
        return None
    root = Path(top)
    inside = [path.resolve() for path in ignore if path.resolve().is_relative_to(root)]
    excluded = [f":(top,exclude,literal){path.relative_to(root).as_posix()}" for path in inside if path != root]
    changed = _ask(root, "status", "--porcelain", "--untracked-files=no", "--", ":/", *excluded)
    tracked = _ask(folder, "ls-files", "--", f":(literal){recipe.resolve().name}")
    if changed is None or tracked is None:
        return None
    return Git(commit=commit, dirty=bool(changed) or not tracked)


def read_revision(revision: str, folder: Path) -> tuple[bytes, Path, str] | None:
    """A file as a revision has it, named as git names it from `folder`: `HEAD~1:recipes/a.yaml`, `HEAD:./a.yaml`.

    Returns:
        The contents (of a run folder those of its manifest), the folder of the working tree that the file lies in,
        whether or not it is there, and the file's own name within git. None when git knows no such file.
    """
    name = _ask(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", revision)
    top = _ask(folder, "rev-parse", "--show-toplevel")
    if not name or not top:
        return None
    if _ask(folder, "cat-file", "-t", name) == "tree":
        return read_revision(f"{revision.rstrip('/')}/{MANIFEST}", folder)
    data = _answer(folder, "cat-file", "blob", name)
    path = revision.partition(":")[2]
    start = folder.resolve() if path.startswith(("./", "../")) else Path(top)
    return None if data is None else (data, Path(os.path.normpath(start / path)).parent, revision)


def _ask(folder: Path, *arguments: str) -> str | None:
    data = _answer(folder, *arguments)
    return None if data is None else data.decode("utf-8", "surrogateescape").strip()


def _answer(folder: Path, *arguments: str) -> bytes | None:
    git = shutil.which("git")
    if git is None:
        return None
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN} | {"LC_ALL": "C"}
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
    return answer.stdout if answer.returncode == 0 else None
