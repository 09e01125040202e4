"""Recipe trees for property and fuzz tests: the valid recipes, and near-valid ones made from them."""

from __future__ import annotations

import copy
import random
from typing import Any

from support.cases import VALID

from recipe_runner.document.document import parse_document

TREES: list[Any] = [parse_document(path.read_bytes(), path.name).tree for path in VALID]

# One of each type, and what is on the border of being allowed somewhere.
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, -1, 8, 64, 1001, 2**63, 2**64 - 1, 2**64, 1.0, 0.5, -0.5, 28.0, 1e300, "", "a", "no",
    "a b", "a\nb", "abc\n", "cuda:1", "cpu\n", "fp16", "float16", "lora", "merge", "png", "x" * 70, "\x1f", "\u00a0",
    "\x7f",
    [], [1], [0.5, 1], ["a"], [None], [[1]], {}, {"a": 1}, {"kind": "lora"}, {"kind": "lora", "model": "x"},
    {"model": "x"}, {"start": 1}, {"count": 3}, {"unet": {"up": {"block_0": [1, 2]}}}, {"up": 1}, {"prompt": "a"},
    [{"prompt": "a"}], {"class": "x", "config": {"a": [1]}}, {"class_name": "x"},
]  # fmt: skip
KEYS = [
    "model",
    "kind",
    "scale",
    "id",
    "prompt",
    "images",
    "seed",
    "token",
    "class_name",
    "height",
    "zzz",
    "a b",
    "",
    "a\n",
]


def paths(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path of a tree, the root's first."""
    found = [path]
    if isinstance(tree, dict):
        for key, value in tree.items():
            found += paths(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            found += paths(value, (*path, index))
    return found


def mutated(tree: Any, source: random.Random) -> Any:
    """A copy of `tree` with one value replaced, deleted, copied from elsewhere, or one key added."""
    tree = copy.deepcopy(tree)
    *parents, last = source.choice(paths(tree)[1:])
    parent = tree
    for segment in parents:
        parent = parent[segment]
    action = source.randrange(5)
    if action == 0:
        del parent[last]
    elif action == 1 and isinstance(parent, dict):
        parent[source.choice(KEYS)] = copy.deepcopy(source.choice(VALUES))
    elif action == 2:
        donor = source.choice(TREES)
        value = donor
        for segment in source.choice(paths(donor)[1:]):
            value = value[segment]
        parent[last] = copy.deepcopy(value)
    else:
        parent[last] = copy.deepcopy(source.choice(VALUES))
    return tree
