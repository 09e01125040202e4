"""Names that someone who mistyped probably meant: one function finds them for the whole package."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipe_runner.problems.suggest import did_you_mean, nearest, nearest_few

PACKAGE = Path(__file__).parents[2] / "recipe_runner"


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("sedes", ["recipe", "seeds"], "seeds"),
        ("VAE", ["unet", "vae"], "vae"),
        ("Euler", ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"], "EulerDiscreteScheduler"),
        ("x", ["seeds"], None),
        ("x", [], None),
    ],
)
def test_the_nearest_name(name: str, known: list[str], meant: str | None) -> None:
    assert nearest(name, known) == meant


def test_the_nearest_names_in_their_order() -> None:
    assert nearest_few("c.bin", ["a.bin", "b.bin", "other"], 3) == ("b.bin", "a.bin")
    assert nearest_few("c.bin", ["a.bin", "b.bin", "other"], 1) == ("b.bin",)


def test_a_hint_names_the_nearest_or_the_first_of_all() -> None:
    assert did_you_mean("sedes", ["seeds", "recipe"]) == "Did you mean `seeds`?"
    assert did_you_mean("x", ["seeds", "recipe"], "Allowed") == "Allowed: seeds, recipe."
    assert did_you_mean("x", map(str, range(14))) == "Known: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more."
    assert did_you_mean("x", []) == ""


def test_only_one_module_searches_for_similar_names() -> None:
    searching = [path.name for path in PACKAGE.rglob("*.py") if "get_close_matches" in path.read_text(encoding="utf-8")]
    assert searching == ["suggest.py"]
