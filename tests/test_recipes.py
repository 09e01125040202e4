"""Every recipe that comes with the repository validates and plans; those on the demo model are complete plans."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import ROOT, call

import recipe_runner
from recipe_runner.sources.source import Source

RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_recipe_validates_without_a_warning_and_plans(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "validate", str(path))
    assert (answer.status, answer.err) == (0, "1 recipe: 0 errors, 0 warnings\n")
    plan = recipe_runner.compile_recipe(path)
    here = all(isinstance(source, Source) for source in plan.sources().values())
    assert here == (path.parent.name != "hub")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_recipe_tells_editors_its_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.split("=", 1)[1]).resolve() == ROOT / "schemas/recipe.v1.schema.json"
