"""What the README and the guide show is true: commands run and print it, recipes are valid.

`sh` blocks of a page run one after the other in a copy of `recipes/`. A block that is not run says why; its commands
are still parsed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from guide.snippets import PAGES, Block, blocks
from support.command import ROOT, call
from support.key_tables import read_key_table
from support.sparse import write_sparse

import recipe_runner
from recipe_runner.cli.main import build_parser

TABLES = ROOT / "tests" / "weights" / "layouts" / "identify"
BASH = shutil.which("bash") or "bash"
ALL = [block for page in PAGES for block in blocks(page)]
TEST_COMMAND = "test-command"
"""The note of the command that runs these very tests."""
NO_RECIPE = ("pre-commit", "workflow", "not")
"""Notes of YAML and JSON that are for other programs."""
DEFAULTS = {
    "recipe": 1,
    "name": "snippet",
    "base": {"model": "organisation/model"},
    "prompts": [{"prompt": "a bear"}],
}


def name_of(value: object) -> str:
    """The id of a parametrised test."""
    if isinstance(value, Block):
        return value.where
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


def of(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with the recipes and the demo, and `recipe-runner` and `python` of this environment on PATH."""
    folder = tmp_path / "checkout"
    (folder / "recipes").mkdir(parents=True)
    for path in (ROOT / "recipes").glob("*.yaml"):
        shutil.copy(path, folder / "recipes")
    (folder / "recipes" / "demo").symlink_to(ROOT / "recipes" / "demo")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, words in (("recipe-runner", "-m recipe_runner "), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {words}"$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    for variable in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{variable}_NAME", "a")
        monkeypatch.setenv(f"GIT_{variable}_EMAIL", "a@example.org")
    git = "git init -q && git add recipes/*.yaml && git commit -qm Recipes"
    subprocess.run([BASH, "-ec", git], cwd=folder, check=True)
    return folder


def own_files(folder: Path) -> None:
    """In place of a reader's own checkpoint and LoRA: files of their true shapes that hold nothing."""
    (folder / "models").mkdir()
    trained = {"ss_tag_frequency": '{"10_film": {"filmgrain": 20, "bear": 3}}'}
    for name, table, metadata in (
        ("studio-xl", "checkpoint-sdxl", {}),
        ("film", "lora-sdxl-kohya", trained),
    ):
        tensors = read_key_table(TABLES / f"{table}.json")["tensors"]
        write_sparse(folder / "models" / f"{name}.safetensors", tensors, metadata)


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.page == page for block in of("sh"))], ids=name_of)
def test_the_commands_of_a_page_run_and_print_what_it_says(page: Path, checkout: Path) -> None:
    if page.stem == "own-lora":
        own_files(checkout)
    printed = ""
    for block in blocks(page):
        if (path := block.noted("file")) is not None:
            (checkout / path).write_text(block.text, encoding="utf-8")
        elif block.note == "prints":
            assert is_printed(block.text, printed), f"{block.where} is not in:\n{printed}"
        elif block.language == "sh" and block.note != TEST_COMMAND and block.noted("not") is None:
            expected = int(block.noted("exit") or 0)
            done = subprocess.run(
                [BASH, "-euo", "pipefail", "-c", block.text],
                cwd=checkout,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=500,
                check=False,
            )
            printed = done.stdout
            assert done.returncode == expected, f"{block.where} left with {done.returncode}:\n{printed}"


def is_printed(wanted: str, printed: str) -> bool:
    """Whether `printed` has the lines of `wanted`; `…` stands for anything, other lines included."""
    parts = [re.escape(part.strip("\n")) for part in wanted.split("…")]
    return re.search(r"[\s\S]*?".join(parts), printed) is not None


def test_the_comparison_of_outputs_can_fail() -> None:
    assert is_printed("a\n…\nc\n", "x\na\nb\nc\n")
    assert not is_printed("a\n…\nd\n", "a\nb\nc\n")
    assert not is_printed("c\n…\na\n", "a\nb\nc\n")


@pytest.mark.parametrize("block", [block for block in of("sh") if block.noted("not") is not None], ids=name_of)
def test_a_command_that_is_not_run_says_why_and_exists(block: Block) -> None:
    assert re.match(r"run: .{10,}", block.noted("not") or ""), f"{block.where} says no reason"
    for line in block.text.splitlines():
        words = shlex.split(line.partition("&& .venv/bin/")[2] or line, comments=True)
        if words[:1] == ["recipe-runner"]:
            build_parser().parse_args(words[1:])


@pytest.mark.parametrize("block", of("yaml"), ids=name_of)
def test_a_recipe_is_valid(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    if any(block.noted(name) is not None for name in NO_RECIPE):
        return
    tree = yaml.safe_load(block.text)
    if "guidence_scale" in block.text:  # the mistake that a tutorial corrects
        tree["sampling"]["guidance_scale"] = tree["sampling"].pop("guidence_scale")
    # An axis over an adapter needs the adapter.
    if "recipe" not in tree and any("adapters.style" in axis for axis in tree.get("matrix", ())):
        tree["adapters"] = {"style": {"kind": "lora", "model": "style.safetensors"}}
    if tree.get("seeds") is None:
        tree.pop("seeds", None)
    Path("snippet.yaml").write_text(yaml.safe_dump({**DEFAULTS, **tree}, sort_keys=False, allow_unicode=True))
    answer = call(capsys, "validate", "snippet.yaml", "--format", "json")
    assert answer.status == 0, f"{block.where}: {answer.out}"


def test_the_recipe_of_the_readme_is_the_one_in_its_image(checkout: Path) -> None:
    (block,) = [block for block in of("yaml") if block.page == ROOT / "README.md"]
    shown, drawn = checkout / "recipes" / "shown.yaml", checkout / "recipes" / "lora-scale.yaml"
    shown.write_text(block.text)
    plans = [recipe_runner.compile_recipe(path) for path in (shown, drawn)]
    assert plans[0].digest == plans[1].digest


@pytest.mark.parametrize("block", of("json"), ids=name_of)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", of("python"), ids=name_of)
def test_python_runs(block: Block, checkout: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", block.text]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block.where}: {done.stderr}"


def test_the_pre_commit_configuration_is_one(tmp_path: Path) -> None:
    (block,) = [block for block in ALL if block.noted("pre-commit") is not None]
    config = tmp_path / "config.yaml"
    config.write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    offered = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert {hook["id"] for hook in yaml.safe_load(block.text)["repos"][0]["hooks"]} == offered


def test_the_workflow_gives_the_action_what_it_takes() -> None:
    (block,) = [block for block in ALL if block.noted("workflow") is not None]
    (step,) = [
        step
        for step in yaml.safe_load(block.text)["jobs"]["review"]["steps"]
        if step["uses"].startswith("OWNER/recipe_runner/")
    ]
    folder = step["uses"].removeprefix("OWNER/recipe_runner/").partition("@")[0]
    action = yaml.safe_load((ROOT / folder / "action.yml").read_text())
    assert set(step["with"]) <= set(action["inputs"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_language_that_is_tested(page: Path) -> None:
    known = {"sh", "yaml", "json", "python", "text"}
    assert [block.where for block in blocks(page) if block.language not in known] == []
    assert page.read_text(encoding="utf-8").count("```") == 2 * len(list(blocks(page)))
