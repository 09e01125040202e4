"""Whatever happens to what a run wrote, no command that reads it ends in a bug, and the next run makes it good."""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command import call
from support.tiny import sd15_folder

import recipe_runner
from recipe_runner.canonical import RECORD_DIGEST, with_digest

__all__ = ["sd15_folder"]

RECIPE = """\
recipe: 1
name: try-it
base: {model: model}
prompts: [{id: bear, prompt: a red bear}]
seeds: [1, 2]
matrix: {sampling.guidance_scale: [1.0, 5.0]}
sampling: {num_inference_steps: 1, height: 16, width: 16}
runtime: {device: cpu, threads: 1}
"""
DOCUMENTS = (
    "manifest.json", "journal.jsonl", "telemetry.json", "resolved.yaml", "recipe.yaml", "recipe.lock.yaml",
    ".seal.json", "a record of the store",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**30, float("nan"), "", "x", "\ud800", "\x1b[31m", "../../x", "0" * 64, [], [[]], {},
    {"a": 1},
)  # fmt: skip
COMMANDS = (
    ("plan", "recipe.yaml"),
    ("plan", "recipe.yaml", "--set", "seeds=[7]"),
    ("plan", "RUN/resolved.yaml"),
    ("runs", "list"),
    ("runs", "show", "RUN", "--format", "csv"),
    ("verify", "RUN", "--inputs"),
    ("report", "RUN", "-o", "page.html"),
    ("diff", "RUN", "OTHER"),
    ("manifest", "RUN", "--format", "ro-crate"),
    ("gc",),
)


@pytest.fixture(scope="module")
def made(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, its model and two runs of it. Copy it to change it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "model").symlink_to(sd15_folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    for overrides in ([], ["seeds=[1]"]):
        recipe_runner.run_recipe(folder / "recipe.yaml", overrides, runs=folder / "runs")
    return folder


def changed(tree: Any, dice: random.Random) -> Any:
    """The JSON value with one part of it taken out, or become another value."""
    tree = copy.deepcopy(tree)
    places: list[tuple[Any, Any]] = []
    pending = [tree]
    while pending:
        part = pending.pop()
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        places += [(part, key) for key in keys]
        pending += [part[key] for key in keys if isinstance(part[key], (dict, list))]
    holder, key = dice.choice(places)
    if dice.random() < 0.3:
        del holder[key]
    else:
        holder[key] = dice.choice(ODD)
    return tree


def damaged(data: bytes, dice: random.Random, *, is_json: bool) -> bytes:
    """The document with bytes changed or cut off, or as JSON with a value changed, also under a digest made anew."""
    if not is_json or dice.random() < 0.3:
        damage = bytearray(data)
        for _ in range(dice.choice((1, 3, 20))):
            damage[dice.randrange(len(damage))] = dice.randrange(256)
        return bytes(damage[: dice.randrange(len(damage))] if dice.random() < 0.2 else damage)
    lines = data.splitlines() if data.count(b"\n{") else [data]
    number = dice.randrange(len(lines))
    tree = json.loads(lines[number])
    sealed = tree.pop(RECORD_DIGEST, None)
    tree = changed(tree, dice)
    if sealed and dice.random() < 0.5:
        tree[RECORD_DIGEST] = sealed
    elif sealed:
        # What has no canonical form has no digest either.
        try:
            tree = with_digest(tree)
        except ValueError:
            tree[RECORD_DIGEST] = sealed
    lines[number] = json.dumps(tree).encode()
    return b"\n".join(lines) + b"\n"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_damage_is_a_bug_and_the_next_run_makes_it_good(
    made: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    Path("model").symlink_to(made / "model")
    shutil.copy(made / "recipe.yaml", ".")
    for number in range(6):
        dice = random.Random(f"{name} {number}")
        shutil.rmtree("runs", ignore_errors=True)
        shutil.copytree(made / "runs", "runs")
        run, other = sorted(Path("runs/try-it").iterdir(), key=lambda folder: -len([*folder.glob("images/*")]))
        records = sorted(Path("runs/store").glob("*/*.json"))
        path = dice.choice(records) if name == "a record of the store" else run / name
        path.write_bytes(damaged(path.read_bytes(), dice, is_json=path.suffix != ".yaml"))
        if name != ".seal.json" and dice.random() < 0.3:
            (run / ".seal.json").unlink()
        for words in dice.sample(COMMANDS, 4):
            typed = [word.replace("RUN", str(run)).replace("OTHER", str(other)) for word in words]
            answer = call(capsys, *typed)
            assert answer.status in (0, 1, 3), (number, typed, answer.err)
        answer = call(capsys, "run", "recipe.yaml", "--quiet")
        assert (answer.status, answer.out) == (0, f"{run}\n"), (number, answer.err)
        faults = [line for line in call(capsys, "verify", str(run)).out.splitlines() if line.startswith("  ")]
        assert [line for line in faults if not line.startswith("  store: ")] == [], number
