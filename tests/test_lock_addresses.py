"""What a lock says of where each source is: all that the recipe says, so that another address makes it stale."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import ROOT, call
from support.hub import hub
from support.hub_server import HubServer

from recipe_runner.lock.file import read_lock

__all__ = ["hub"]

MODEL = ROOT / "recipes/demo/model"
LORA = (ROOT / "recipes/demo/lora/outline.safetensors").read_bytes()
BASE = {path.relative_to(MODEL).as_posix(): path.read_bytes() for path in MODEL.rglob("*") if path.is_file()}
HALVES = {name.replace(".safetensors", ".fp16.safetensors"): data for name, data in BASE.items()}
RECIPE = """\
recipe: 1
name: try-it
base:
  model: org/demo
  revision: main
  variant: fp16
  components: {vae: {model: org/demo, subfolder: vae, variant: fp16}}
adapters:
  outline: {kind: lora, model: org/outline, revision: main, subfolder: in, weight_name: outline.safetensors}
prompts: [{id: star, prompt: a red star}]
"""


def test_a_lock_says_all_that_the_recipe_says_of_where_a_source_is(
    hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.commit("org/demo", BASE | HALVES)
    hub.commit("org/outline", {"in/outline.safetensors": LORA, "in/other.safetensors": LORA})
    recipe = Path("recipe.yaml")
    recipe.write_text(RECIPE)
    assert call(capsys, "lock", "recipe.yaml").status == 0
    lock = read_lock(Path("recipe.lock.yaml"))
    assert lock is not None
    said = {
        role: entry.model_dump(exclude_none=True, exclude={"files", "commit"}) for role, entry in lock.sources.items()
    }
    assert said == {
        "base": {"address": "org/demo", "revision": "main", "variant": "fp16"},
        "base.components.vae": {"address": "org/demo", "subfolder": "vae", "variant": "fp16"},
        "adapters.outline": {
            "address": "org/outline",
            "revision": "main",
            "subfolder": "in",
            "weight_name": "outline.safetensors",
        },
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  variant: fp16\n", ""),
        ("subfolder: vae, variant: fp16", "subfolder: vae"),
        ("weight_name: outline", "weight_name: other"),
        ("model: org/outline, revision: main", "model: org/outline, revision: next"),
    ],
)
def test_another_address_makes_a_lock_stale(
    old: str, new: str, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"in/outline.safetensors": LORA, "in/other.safetensors": LORA}
    hub.commit("org/demo", BASE | HALVES)
    hub.commit("org/outline", files)
    hub.commit("org/outline", files, branch="next")
    recipe = Path("recipe.yaml")
    recipe.write_text(RECIPE)
    assert call(capsys, "lock", "recipe.yaml").status == 0
    assert call(capsys, "lock", "--check", "recipe.yaml").status == 0
    recipe.write_text(RECIPE.replace(old, new))
    assert call(capsys, "lock", "--check", "recipe.yaml").status == 1
