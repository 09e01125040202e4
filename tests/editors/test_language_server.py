"""The schema in the YAML language server that editors use, from npm: completion, hover texts, red squiggles."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import ROOT
from support.language_server import LanguageServer

VERSION = "1.25.0"
SCHEMA = ROOT / "schemas" / "recipe.v1.schema.json"
HEAD = f"# yaml-language-server: $schema={SCHEMA}\n"


def installed() -> Path:
    """The server's program, installed once into a folder of the machine's temporary files."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = Path(tempfile.gettempdir()) / f"recipe-runner-yaml-language-server-{VERSION}"
    folder.mkdir(exist_ok=True)
    program = folder / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
    with (folder / "lock").open("w") as lock:
        # Several processes of a test run may come here at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        install(program, folder)
    return program


def install(program: Path, folder: Path) -> None:
    """Have npm put the server into `folder`, unless it is there."""
    if not program.is_file():
        # The tests' own home folder has none of npm's settings.
        environment = {**os.environ, "HOME": pwd.getpwuid(os.getuid()).pw_dir}
        command = ["npm", "install", "--silent", "--prefix", str(folder), f"yaml-language-server@{VERSION}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            pytest.skip(f"npm could not install yaml-language-server: {done.stderr.strip()[-200:]}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    program = installed()
    client = LanguageServer(["node", str(program), "--stdio"], tmp_path_factory.mktemp("workspace"))
    yield client
    client.close()


def labels(answer: Any) -> list[str]:
    items = answer["items"] if isinstance(answer, dict) else answer or []
    return [item["label"] for item in items]


def completed(server: LanguageServer, path: Path, text: str) -> list[str]:
    """What is offered at the mark `|`."""
    before, _, after = (HEAD + text).partition("|")
    server.open(path, before + after)
    lines = before.split("\n")
    return labels(server.at("completion", path, len(lines) - 1, len(lines[-1])))


def test_keys_are_completed(server: LanguageServer, tmp_path: Path) -> None:
    offered = completed(server, tmp_path / "keys.yaml", "recipe: 1\nname: x\n|\n")
    assert {"base", "adapters", "prompts", "seeds", "sampling", "matrix", "runtime", "output", "description"} <= {
        *offered
    }
    assert "recipe" not in offered
    inside = completed(server, tmp_path / "base.yaml", "recipe: 1\nbase:\n  model: a/b\n  |\n")
    assert {"dtype", "variant", "revision", "scheduler", "components", "pipeline"} <= {*inside}


def test_keys_of_an_adapter_are_those_of_its_kind(server: LanguageServer, tmp_path: Path) -> None:
    lora = completed(server, tmp_path / "lora.yaml", "recipe: 1\nadapters:\n  x:\n    kind: lora\n    |\n")
    assert {"model", "scale", "target"} <= {*lora}
    assert "token" not in lora
    merge = completed(server, tmp_path / "merge.yaml", "recipe: 1\nadapters:\n  x:\n    kind: merge\n    |\n")
    assert {"adapters", "weights", "combination_type"} <= {*merge}


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("dtype", "recipe: 1\nbase:\n  model: a/b\n  dtype: |\n", {"float32", "float16", "bfloat16"}),
        ("kind", "recipe: 1\nadapters:\n  x:\n    kind: |\n", {"lora", "textual_inversion", "ip_adapter", "merge"}),
        ("level", "recipe: 1\nruntime:\n  reproducibility: |\n", {"strict", "seeded", "fast"}),
        ("format", "recipe: 1\noutput:\n  format: |\n", {"png", "webp", "jpeg"}),
    ],
)
def test_values_are_completed(name: str, text: str, values: set[str], server: LanguageServer, tmp_path: Path) -> None:
    assert values <= {*completed(server, tmp_path / f"{name}.yaml", text)}


def test_keys_are_explained_under_the_cursor(server: LanguageServer, tmp_path: Path) -> None:
    path = tmp_path / "hover.yaml"
    server.open(path, HEAD + "recipe: 1\nname: x\nbase:\n  model: a/b\n  variant: fp16\nsampling:\n  clip_skip: 1\n")
    hover = server.at("hover", path, 5, 4)
    assert "Every component must have it" in str(hover["contents"])
    assert "counted as in diffusers: 1" in str(server.at("hover", path, 7, 4)["contents"])


def test_a_typo_is_underlined_and_a_recipe_is_not(server: LanguageServer, tmp_path: Path) -> None:
    text = HEAD + "recipe: 1\nname: x\nbase:\n  modle: a/b\nprompts: [{prompt: a}]\nruntime: {device: gpu}\n"
    found = server.open(tmp_path / "typo.yaml", text)
    told = {each["range"]["start"]["line"]: each["message"] for each in found}
    assert "modle" in " ".join(each["message"] for each in found)
    assert 4 in told
    assert 6 in told
    for name in ("quickstart", "lora-blocks", "schedulers"):
        recipe = ROOT / "recipes" / f"{name}.yaml"
        assert server.open(recipe, recipe.read_text(encoding="utf-8")) == []
