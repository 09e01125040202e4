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


def test_a_change_is_named_by_its_node() -> None:
    held = {"plan_digest": "a", "nodes": ["denoise 1", "decode 2"], "images": ["bear.png 3", "cat.png 4"]}
    found = {"plan_digest": "b", "nodes": ["denoise 5", "decode 2"], "images": ["cat.png 4", "bear.png 3"]}
    assert list(differences(held, found)) == [
        "plan_digest: a is now b",
        "nodes: gone: denoise 1",
        "nodes: new: denoise 5",
        "images: in another order",
    ]
