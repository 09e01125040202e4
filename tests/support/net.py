"""What the net holds of a recipe: the identity of its plan, every node key, and the bytes of its manifest.

Nothing here depends on where the files lie or on the machine: node keys hold contents alone, and of a manifest the
values that follow the processor, the installed libraries or the checkout (`MACHINE`) are replaced by a constant.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import recipe_runner
from recipe_runner.problems.problem import RecipeRunnerError

from .command import ROOT

NET = ROOT / "tests/net.json"
RENEW = "RECIPE_RUNNER_RENEW_NET"
HOW = f"If this is meant, run `{RENEW}=1 pytest tests/test_net.py` (without -n) and review the diff of tests/net.json."

OVERRIDES = ("sampling.num_inference_steps=1", "runtime.device=cpu", "runtime.threads=1")
"""Runs are made with these: one step takes the same way through the program as fifty."""

MACHINE = ("environment", "git", "lock_sha256", "file_sha256", "pixel_sha256")
"""Keys of a manifest whose values depend on the machine: the environment and the lock name installed libraries, git
names the checkout, and the last bits of an image follow the processor."""

_VALID = "tests/recipes/valid"
BESIDE = {
    f"{_VALID}/smallest.yaml": {"demo/model": "model"},
    f"{_VALID}/axes.yaml": {
        "demo/model": "model",
        "other/model": "dreambooth",
        "style.safetensors": "lora/outline.safetensors",
        "look.safetensors": "ip_adapter/ip-adapter_shapes.safetensors",
        "image_encoder": "ip_adapter/image_encoder",
        "a.png": "inputs/red-heart.png",
        "b.png": "inputs/purple-ring.png",
    },
    f"{_VALID}/everything.yaml": {
        "inputs/left.png": "inputs/left.png",
        "inputs/a.png": "inputs/red-heart.png",
        "inputs/b.png": "inputs/purple-ring.png",
        "inputs/bear.png": "inputs/yellow-star.png",
        "inputs/fox.png": "inputs/green-cross.png",
        "inputs/other.png": "inputs/right.png",
    },
}
"""What of the demo stands for the files that a valid recipe of the tests names; what is not here is on the Hub."""


def recipes() -> list[str]:
    """Every recipe of the net, relative to the repository."""
    found = [*(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "tests/recipes/valid").glob("*.yaml")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found if not path.stem.endswith(".lock"))


def place(name: str, folder: Path) -> Path:
    """Where a recipe is planned: in its place, or for one of the tests in `folder`, with what it names beside it."""
    if not name.startswith(_VALID):
        return ROOT / name
    for beside, demo in BESIDE.get(name, {}).items():
        path = folder / beside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(ROOT / "recipes/demo" / demo)
    return Path(shutil.copy(ROOT / name, folder))


def planned(path: Path) -> dict[str, Any]:
    """The plan's digest, its nodes in their order and the node of each image; or why there is no plan."""
    try:
        plan = recipe_runner.compile_recipe(path)
    except RecipeRunnerError as error:
        return {"problems": sorted(problem.code for problem in error.problems)}
    return {
        "plan_digest": plan.digest,
        "nodes": [f"{node.operation} {node.key}" for node in plan.graph],
        "images": [f"{image.path} {image.key}" for image in plan.images],
    }


def recorded(path: Path, runs: Path) -> dict[str, str]:
    """The sha256 of the manifest of a run, and of each of its sections, for a message that names what changed."""
    run = recipe_runner.run_recipe(path, OVERRIDES, runs=runs)
    data = (run.folder / "manifest.json").read_bytes()
    tree = json.loads(data)
    assert _written(tree) == data
    tree = _without_machine(tree)
    sections = {key: _written(value) for key, value in tree.items() if key not in MACHINE}
    return {name: hashlib.sha256(text).hexdigest() for name, text in {**sections, "whole": _written(tree)}.items()}


def differences(held: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """What is not as the net holds it, a line each. A node that changes changes all that follow: the first is named."""
    for part in dict.fromkeys((*held, *found)):
        before, after = held.get(part), found.get(part)
        if isinstance(before, list) and isinstance(after, list):
            pairs = list(enumerate(zip_longest(before, after, fillvalue="nothing"), start=1))
            changed = [(number, *pair) for number, pair in pairs if pair[0] != pair[1]]
            if changed:
                number, was, now = changed[0]
                yield f"{part}: {len(changed)} of {len(pairs)} changed; first, number {number}: {was} is now {now}"
        elif before != after:
            yield f"{part}: {before} is now {after}"


def read_net() -> Any:
    """The net."""
    return json.loads(NET.read_text(encoding="utf-8"))


def renew(name: str, part: str, found: dict[str, Any]) -> None:
    """Write what was found of a recipe into the net, and drop recipes that are no more."""
    net = read_net() if NET.exists() else {}
    net.setdefault(name, {})[part] = found
    names = set(recipes())
    kept = {each: net[each] for each in sorted(net) if each in names}
    NET.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _written(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _without_machine(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_machine(item) for item in value]
    if isinstance(value, dict):
        return {key: "…" if key in MACHINE else _without_machine(item) for key, item in value.items()}
    return value
