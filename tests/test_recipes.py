"""Every recipe that comes with the repository validates and plans; those on the demo model are complete plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command import ROOT, call

import recipe_runner
from recipe_runner.sources.source import Source

RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if not path.stem.endswith(".lock"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_recipe_validates_without_a_warning_and_plans(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(call(capsys, "validate", str(path), "--format", "json").out)
    # Those on the Hub's branches are for the user to lock.
    assert {problem["code"] for problem in told["problems"]} == ({"W430"} if path.parent.name == "hub" else set())
    plan = recipe_runner.compile_recipe(path)
    here = all(isinstance(source, Source) for source in plan.sources().values())
    assert here == (path.parent.name != "hub")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_recipe_tells_editors_its_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.split("=", 1)[1]).resolve() == ROOT / "schemas/recipe.v1.schema.json"
