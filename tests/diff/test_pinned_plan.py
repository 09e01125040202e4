"""Recipes are compared under their locks, each its own: an upgraded lock is told with the images that it costs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.command import ROOT, call
from support.git import Repository
from support.hub import hub
from support.hub_server import HubServer

__all__ = ["hub"]

LORA = (ROOT / "recipes/demo/lora/outline.safetensors").read_bytes()
RECIPE = f"""\
recipe: 1
name: try-it
base: {{model: {ROOT}/recipes/demo/model}}
adapters:
  outline: {{kind: lora, model: org/outline, scale: 0.5}}
prompts: [{{id: star, prompt: a red star}}]
"""


def test_an_upgraded_lock_is_told_with_what_it_costs(
    hub: HubServer, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.commit("org/outline", {"outline.safetensors": LORA})
    os.chdir(repository.path)
    Path("recipe.yaml").write_text(RECIPE)
    assert call(capsys, "lock", "recipe.yaml").status == 0
    repository.git("add", ".")
    repository.git("commit", "-qm", "first")
    hub.commit("org/outline", {"outline.safetensors": LORA[:-4] + bytes(4)})
    assert call(capsys, "lock", "recipe.yaml", "--upgrade", "all").status == 0

    locks = call(capsys, "diff", "HEAD:recipe.lock.yaml", "recipe.lock.yaml")
    assert locks.status == 1
    assert "~ sources.adapters.outline.commit: " in locks.out
    assert "~ sources.adapters.outline.files.outline.safetensors.sha256: " in locks.out

    answer = call(capsys, "diff", "HEAD:recipe.yaml", "recipe.yaml", "--format", "json")
    tree = json.loads(answer.out)
    assert (answer.status, tree["changes"]) == (1, [])
    assert tree["cost"]["provisional"] == []
    assert tree["cost"]["count"]["changes"] == 1
    assert [reason["reason"].partition(":")[0] for reason in tree["cost"]["reasons"]] == [
        "adapters.outline.contents.weights"
    ]

    # Back to the first lock, and nothing differs.
    repository.git("checkout", "recipe.lock.yaml")
    assert call(capsys, "diff", "HEAD:recipe.yaml", "recipe.yaml").status == 0
