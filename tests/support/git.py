"""Real git repositories to test in."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

_NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "commit.gpgsign=false")


@dataclass(frozen=True)
class Repository:
    """A repository in `path`."""

    path: Path

    def git(self, *words: str, **environment: str) -> str:
        """What a git command prints."""
        answer = subprocess.run(
            ["git", *_NOBODY, *words],  # noqa: S607
            cwd=self.path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def commit(self, files: Mapping[str, str]) -> None:
        """Write files and commit them."""
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        self.git("add", "--", *files)
        self.git("commit", "-qm", "change")

    @contextlib.contextmanager
    def inside(self, folder: str = "") -> Iterator[None]:
        """Work in a folder of it."""
        with contextlib.chdir(self.path / folder):
            yield


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository."""
    made = Repository(tmp_path / "repository")
    made.path.mkdir()
    made.git("init", "-q")
    return made
