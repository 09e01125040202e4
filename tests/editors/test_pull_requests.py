"""The pre-commit hooks and the GitHub Action, run as those programs run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command import ROOT

ACTION = ROOT / ".github" / "actions" / "recipes" / "action.yml"
RECIPE = """\
recipe: 1
name: mine
base: {model: organisation/model, dtype: float16}
prompts: [{prompt: a bear}]
seeds: [1, 2]
sampling: {guidance_scale: 7.5}
"""


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )


def git(*words: str, cwd: Path) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    done = run("git", *author, *words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one good recipe."""
    folder = tmp_path / "repository"
    (folder / "recipes").mkdir(parents=True)
    git("init", "-q", cwd=folder)
    (folder / "recipes" / "mine.yaml").write_text(RECIPE, encoding="utf-8")
    git("add", "-A", cwd=folder)
    git("commit", "-qm", "A recipe", cwd=folder)
    return folder


@pytest.fixture
def path_with_command(tmp_path: Path) -> str:
    """A PATH whose recipe-runner is this checkout's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "recipe-runner"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m recipe_runner "$@"\n')
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def hook(repository: Path, path: str, name: str, *files: str) -> subprocess.CompletedProcess[str]:
    """One hook, from a copy of the file that this repository offers."""
    entries = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    local = [{key: value for key, value in entry.items() if key != "description"} for entry in entries]
    config = {"repos": [{"repo": "local", "hooks": local}]}
    (repository / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "pre_commit", "run", name, "--files", *files]
    return run(*command, cwd=repository, PATH=path, PRE_COMMIT_HOME=str(repository.parent / "pre-commit"))


def test_the_hook_file_is_one(path_with_command: str) -> None:
    done = run(
        sys.executable,
        "-m",
        "pre_commit",
        "validate-manifest",
        ".pre-commit-hooks.yaml",
        cwd=ROOT,
        PATH=path_with_command,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_pre_commit_runs_validate_on_recipes_only(repository: Path, path_with_command: str) -> None:
    (repository / "other.yaml").write_text("no: recipe\n")
    (repository / "recipes" / "other.lock.yaml").write_text("no: recipe\n")
    good = hook(
        repository, path_with_command, "recipe-validate", "recipes/mine.yaml", "other.yaml", "recipes/other.lock.yaml"
    )
    assert good.returncode == 0, good.stdout
    assert "Passed" in good.stdout
    (repository / "recipes" / "mine.yaml").write_text(RECIPE.replace("seeds", "seds"), encoding="utf-8")
    bad = hook(repository, path_with_command, "recipe-validate", "recipes/mine.yaml")
    assert bad.returncode == 1
    assert "recipes/mine.yaml:5:1: error[E201]" in bad.stdout


def test_pre_commit_runs_the_lock_check(repository: Path, path_with_command: str) -> None:
    done = hook(repository, path_with_command, "recipe-lock-check", "recipes/mine.yaml")
    assert done.returncode == 1
    assert "mine.lock.yaml" in done.stdout


def steps(repository: Path, path: str, **inputs: str) -> tuple[list[subprocess.CompletedProcess[str]], str, str]:
    """Every run step of the action as the runner does it: bash -e, inputs in the environment. Summary and outputs."""
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    given = {name: inputs.get(name, str(entry.get("default", ""))) for name, entry in action["inputs"].items()}
    summary, output = repository.parent / "summary.md", repository.parent / "output"
    done = []
    for step in action["runs"]["steps"]:
        environment = {name: _filled(value, given) for name, value in step.get("env", {}).items()}
        environment |= {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(output), "PATH": path}
        environment["GITHUB_ACTION_PATH"] = str(ACTION.parent)
        assert step["shell"] == "bash"
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done.append(run(*command, cwd=repository, **environment))
    written = summary.read_text(encoding="utf-8") if summary.exists() else ""
    return done, written, output.read_text(encoding="utf-8")


def _filled(value: Any, given: dict[str, str]) -> str:
    name = str(value).removeprefix("${{ inputs.").removesuffix(" }}")
    assert name in given, f"{value} is no input"
    return given[name]


def test_the_action_annotates_and_writes_the_summary(repository: Path, path_with_command: str) -> None:
    base = git("rev-parse", "HEAD", cwd=repository).strip()
    changed = RECIPE.replace("7.5", "6.0").replace("[1, 2]", "[1, 2, 3]")
    (repository / "recipes" / "mine.yaml").write_text(changed, encoding="utf-8")
    (repository / "recipes" / "a new $(one).yaml").write_text(RECIPE.replace("seeds", "seds"), encoding="utf-8")
    git("add", "-A", cwd=repository)
    git("commit", "-qm", "A change", cwd=repository)
    (installed, compared, validated), summary, output = steps(repository, path_with_command, base=base)
    assert (installed.returncode, compared.returncode) == (0, 0), compared.stderr
    assert "guidance\\_scale" in summary
    assert "### New: `recipes/a new $(one).yaml`" in summary
    assert validated.returncode == 1
    assert validated.stdout.startswith("::error file=recipes/a new $(one).yaml,line=5,")
    assert output == "errors=1\n"


def test_the_action_says_what_it_cannot_compare(repository: Path, path_with_command: str) -> None:
    (repository / "recipes" / "mine.yaml").write_text(RECIPE.replace("seeds", "seds"), encoding="utf-8")
    (_, compared, validated), summary, _ = steps(repository, path_with_command, base="HEAD")
    assert compared.returncode == 0, compared.stderr
    assert "### Not compared: `recipes/mine.yaml`" in summary
    assert validated.returncode == 1


def test_the_action_without_a_base_only_validates(repository: Path, path_with_command: str) -> None:
    (_, compared, validated), summary, output = steps(repository, path_with_command, base="")
    assert (compared.returncode, validated.returncode, summary, output) == (0, 0, "", "errors=0\n")
