"""What is kept between changes of scale: never too much, and never what has left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import lycoris as kinds
from support.tuned import loaded, translated

from recipe_runner.runtime.lora import patched_weights as patches
from recipe_runner.runtime.lora.tensor_cache import TensorCache
from recipe_runner.runtime.lora.tuners import Tuners

HUNDRED = 25
"""Numbers of a float32 tensor of a hundred bytes."""


def ask(kept: TensorCache, *names: str) -> list[str]:
    """Ask for a hundred bytes under each name; the names that had to be made."""
    made = []

    def make(name: str) -> tuple[torch.Tensor, None]:
        made.append(name)
        return torch.zeros(HUNDRED), None

    for name in names:
        kept.get((name,), lambda name=name: make(name))  # type: ignore[misc]
    return made


def test_what_was_made_is_given_again_and_what_was_unused_longest_leaves() -> None:
    kept = TensorCache(300)
    assert ask(kept, "a", "b", "c", "a") == ["a", "b", "c"]
    kept.begin_round()
    assert ask(kept, "a", "d") == ["d"]
    assert kept.size_bytes == 300
    kept.begin_round()
    assert ask(kept, "a", "d", "c") == []
    kept.begin_round()
    assert ask(kept, "b") == ["b"]


def test_a_round_that_asks_for_more_than_there_is_room_for_finds_part_of_it_each_time() -> None:
    kept = TensorCache(250)
    for made in (["a", "b", "c", "d"], ["c", "d"], ["c", "d"]):
        kept.begin_round()
        assert ask(kept, "a", "b", "c", "d") == made
    assert kept.size_bytes == 200


def test_what_is_forgotten_is_made_anew() -> None:
    kept = TensorCache(300)
    ask(kept, "a", "b")
    kept.forget({"a"})
    assert kept.size_bytes == 100
    assert ask(kept, "a", "b") == ["a"]


def lokr(tmp_path: Path, model: Any, seed: int) -> Any:
    tensors, _ = kinds.file_of({"linear": kinds.lokr("whole", "factors")}, model, seed)
    return translated(model, tensors, tmp_path / f"{seed}.safetensors")


def test_a_weight_comes_back_as_it_was_whatever_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights(most_bytes: int) -> list[torch.Tensor]:
        monkeypatch.setattr(patches, "MOST_KEPT_BYTES", most_bytes)
        model = kinds.Small()
        tuners = loaded(model, x=lokr(tmp_path, model, 1), y=lokr(tmp_path, model, 2))
        found = []
        for x, y in ((1.0, 0.0), (0.4, 0.0), (0.4, -2.0), (1.0, 0.0), (0.0, 0.0), (0.4, -2.0)):
            tuners.activate([("x", {"linear": x}), ("y", {"linear": y})])
            found.append(model.linear.weight.detach().clone())
        return found

    scarce, ample = weights(0), weights(1 << 20)
    assert all(map(torch.equal, scarce, ample))
    assert torch.equal(ample[0], ample[3])
    assert torch.equal(ample[2], ample[5])
    assert not torch.equal(ample[0], ample[1])


def test_an_adapter_that_leaves_takes_with_it_what_was_kept_of_it(tmp_path: Path) -> None:
    model = kinds.Small()
    tuners: Tuners = loaded(model, x=lokr(tmp_path, model, 1), y=lokr(tmp_path, model, 2))
    kept = tuners._patches._cache
    tuners.activate([("x", {"linear": 1.0})])
    alone = kept.size_bytes
    tuners.activate([("x", {"linear": 1.0}), ("y", {"linear": 1.0})])
    assert kept.size_bytes > alone > 0
    tuners.activate([("x", {"linear": 1.0})])
    tuners.remove("y")
    assert kept.size_bytes == alone
    tuners.activate([])
    tuners.remove("x")
    assert kept.size_bytes == 0
