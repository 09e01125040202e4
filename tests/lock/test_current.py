"""A lock that was found current is not asked again, until anything has changed that the answer depends on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.command import ROOT, call

from recipe_runner.lock import current as lock_check
from recipe_runner.problems.problem import Problem
from recipe_runner.sources.access import Meter

if TYPE_CHECKING:
    from recipe_runner.plan.resolved_base import AnySource

MODEL = ROOT / "recipes/demo/model"
LORA = (ROOT / "recipes/demo/lora/outline.safetensors").read_bytes()
RECIPE = """\
recipe: 1
name: try-it
base: {model: model}
adapters: {outline: {kind: lora, model: adapters, scale: 0.5}}
prompts: [{prompt: a red star}]
"""


def test_a_lock_that_was_current_is_asked_again_when_anything_has_changed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(MODEL, "model")
    Path("adapters").mkdir()
    Path("adapters/a.safetensors").write_bytes(LORA)
    Path("recipe.yaml").write_text(RECIPE)
    monkeypatch.setenv("RECIPE_RUNNER_CACHE", str(Path("cache").absolute()))
    assert call(capsys, "lock", "recipe.yaml").status == 0
    judged: list[str] = []
    ask = lock_check._judged

    def asked(path: Path, meter: Meter) -> tuple[Sequence[Problem], Iterable[AnySource]]:
        judged.append("asked")
        return ask(path, meter)

    monkeypatch.setattr(lock_check, "_judged", asked)
    # What was changed only just now is not remembered; a minute later it is.
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60 * 10**9)

    def check() -> tuple[int, int]:
        judged.clear()
        return call(capsys, "lock", "recipe.yaml", "--check").status, len(judged)

    assert [check(), check()] == [(0, 1), (0, 0)]
    text_before = Path("recipe.yaml").read_text()
    Path("recipe.yaml").write_text(text_before + "# a comment\n")
    assert [check(), check()] == [(0, 1), (0, 0)]
    Path("adapters/a.safetensors").write_bytes(LORA[:-4] + bytes(4))
    assert [check(), check()] == [(1, 1), (1, 1)]
    Path("adapters/a.safetensors").write_bytes(LORA)
    assert [check(), check()] == [(0, 1), (0, 0)]
    # Another file beside it makes the choice ambiguous.
    Path("adapters/b.safetensors").write_bytes(LORA)
    assert check() == (3, 1)
    Path("adapters/b.safetensors").unlink()
    assert [check(), check()] == [(0, 1), (0, 0)]
    (record,) = Path("cache/checks").iterdir()
    for damage in (b"[" * 100_000, b"", b"[]", b'{"question": 1}'):
        record.write_bytes(damage)
        assert check() == (0, 1)
    Path("recipe.lock.yaml").unlink()
    assert check() == (1, 1)
