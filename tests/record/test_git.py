"""The commit and dirty flag, asked of a real repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from recipe_runner.record.git import read_git
from recipe_runner.record.manifest import Git

AUTHOR = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    answer = subprocess.run(["git", *AUTHOR, *arguments], cwd=folder, check=True, capture_output=True, text=True)  # noqa: S607
    return answer.stdout.strip()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "recipes"
    folder.mkdir(parents=True)
    git(folder.parent, "init", "--quiet")
    (folder / "a.yaml").write_text("recipe: 1\n")
    (folder.parent / "README.md").write_text("hello\n")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "-m", "first")
    return folder / "a.yaml"


def test_a_clean_repository(recipe: Path) -> None:
    assert read_git(recipe) == Git(commit=git(recipe.parent, "rev-parse", "HEAD"), dirty=False)


def test_what_makes_it_dirty(recipe: Path) -> None:
    readme, untracked = recipe.parents[1] / "README.md", recipe.parent / "b.yaml"
    untracked.write_text("recipe: 1\n")
    found = read_git(recipe)
    assert found is not None
    assert not found.dirty, "another untracked file does not count"
    found = read_git(untracked)
    assert found is not None
    assert found.dirty, "an untracked recipe does"
    readme.write_text("changed\n")
    found = read_git(recipe)
    assert found is not None
    assert found.dirty


def test_what_the_run_itself_changes_does_not_count(recipe: Path) -> None:
    runs = recipe.parents[1] / "runs"
    runs.mkdir()
    (runs / "manifest.json").write_text("{}\n")
    git(recipe.parents[1], "add", ".")
    git(recipe.parents[1], "commit", "--quiet", "-m", "runs")
    (runs / "manifest.json").write_text("[]\n")
    commit = git(recipe.parent, "rev-parse", "HEAD")
    assert read_git(recipe) == Git(commit=commit, dirty=True)
    assert read_git(recipe, ignore=[runs, Path("/elsewhere")]) == Git(commit=commit, dirty=False)


def test_no_repository_no_commit_no_git(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    outside = tmp_path / "outside"
    outside.mkdir()
    assert read_git(outside / "a.yaml") is None
    git(outside, "init", "--quiet")
    assert read_git(outside / "a.yaml") is None
    monkeypatch.setenv("PATH", str(outside))
    assert read_git(recipe) is None


def test_a_hooks_environment_and_the_repositorys_programs_are_not_obeyed(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(recipe.parent, "rev-parse", "HEAD")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    git(recipe.parent, "config", "core.fsmonitor", str(program))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "missing"))
    assert read_git(recipe) == Git(commit=commit, dirty=False)
    assert not (tmp_path / "started").exists()
