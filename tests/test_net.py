"""The net: the plan, every node key and the manifest of every recipe are what they were, on any machine.

A change of the code that is not meant to change what recipes make leaves `net.json` as it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.net import HOW, RENEW, differences, place, planned, read_net, recipes, recorded, renew

RECIPES = recipes()
RUN = [*(name for name in RECIPES if Path(name).parent == Path("recipes")), "tests/recipes/valid/smallest.yaml"]


def compare(name: str, part: str, found: dict[str, Any]) -> None:
    if os.environ.get(RENEW):
        renew(name, part, found)
    held = read_net().get(name, {}).get(part, {})
    lines = "\n".join(f"  {line}" for line in differences(held, found))
    assert not lines, f"the {part} of {name} is not what it was:\n{lines}\n{HOW}"


@pytest.mark.parametrize("name", RECIPES)
def test_every_node_key_is_what_it_was(name: str, tmp_path: Path) -> None:
    compare(name, "plan", planned(place(name, tmp_path)))


@pytest.mark.parametrize("name", RUN)
def test_every_manifest_is_what_it_was(name: str, tmp_path: Path) -> None:
    compare(name, "manifest", recorded(place(name, tmp_path), tmp_path / "runs"))


def test_the_net_holds_the_recipes_that_there_are() -> None:
    assert sorted(read_net()) == RECIPES, HOW


def test_the_first_node_that_changed_is_named() -> None:
    held = {"plan_digest": "a", "nodes": ["load_base 1", "denoise 2", "decode 3"], "images": ["bear.png 3"]}
    found = {
        "plan_digest": "b",
        "nodes": ["load_base 1", "denoise 4", "decode 5"],
        "images": ["bear.png 3", "cat.png 6"],
    }
    assert list(differences(held, found)) == [
        "plan_digest: a is now b",
        "nodes: 2 of 3 changed; first, number 2: denoise 2 is now denoise 4",
        "images: 1 of 2 changed; first, number 2: nothing is now cat.png 6",
    ]
