"""Headers fetched in the place of files, by the real client from a server on loopback, every byte counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.command import ROOT
from support.header_bases import header_base, table
from support.hub import files, hub  # noqa: F401 - fixtures
from support.safetensors_bytes import whole
from support.sparse import write_sparse

from recipe_runner.actions.check_weights import weights_problems
from recipe_runner.plan.checks import memory
from recipe_runner.sources.hub.cache import hub_cache
from recipe_runner.weights.files.digests import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from support.hub_server import HubServer

    from recipe_runner.problems.problem import Problem

WRONG = whole({**table("lora-sdxl-diffusers"), "pad": (1_000_000,)})
DEMO = ROOT / "recipes" / "demo"
RECIPE = """\
recipe: 1
name: far
base: {model: org/base}
adapters:
  right: {kind: lora, model: org/right}
  wrong: {kind: lora, model: org/wrong}
prompts: [{prompt: a bear}]
"""


@pytest.fixture(autouse=True)
def _on_a_large_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "device_of", lambda _: memory.Device("a large machine", 2**40, 0.0))


def demo_base() -> dict[str, bytes]:
    model = DEMO / "model"
    return {path.relative_to(model).as_posix(): path.read_bytes() for path in model.rglob("*") if path.is_file()}


def judged(folder: Path, text: str = RECIPE, *, network: bool = True) -> list[Problem]:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return list(weights_problems(path, network=network))


def offer(hub: HubServer) -> int:  # noqa: F811
    """Commit a base and two adapters; returns their size in bytes."""
    base = demo_base()
    right = (DEMO / "lora" / "outline.safetensors").read_bytes()
    hub.commit("org/base", base)
    hub.commit("org/right", {"right.safetensors": right})
    hub.commit("org/wrong", {"wrong.safetensors": WRONG, "README.md": b"x" * 100_000})
    return sum(map(len, base.values())) + len(right) + len(WRONG)


def test_a_whole_recipe_is_checked_by_headers_alone(hub: HubServer, tmp_path: Path) -> None:  # noqa: F811
    size = offer(hub)
    (problem,) = judged(tmp_path)
    assert (problem.code, problem.line) == ("E602", 6)
    assert "trained on SDXL" in problem.hint
    assert hub.sent() < 400_000 < size / 10
    ranges = [request for request in hub.requests if request.path.endswith(".safetensors")]
    assert all(request.status == 206 for request in ranges)
    # Nothing that could be taken for a file lies in the Hub's cache.
    assert not list(hub_cache().rglob("*.safetensors"))
    sent = hub.sent()
    assert [p.code for p in judged(tmp_path)] == ["E602"]
    assert hub.sent() - sent < 5_000


def test_without_leave_nothing_is_asked(hub: HubServer, tmp_path: Path) -> None:  # noqa: F811
    offer(hub)
    assert {problem.code for problem in judged(tmp_path, network=False)} == {"W762"}
    assert not hub.requests


def test_pickles_have_no_header_and_stay_unchecked(hub: HubServer, tmp_path: Path) -> None:  # noqa: F811
    offer(hub)
    hub.commit("org/wrong", {"wrong.bin": b"\x80\x02}q\x00." + bytes(1000)})
    text = f"{RECIPE}runtime: {{allow_pickle: true}}\n"
    (problem,) = judged(tmp_path, text)
    assert (problem.code, problem.severity) == ("W762", "warning")
    assert "is pickled and has no header to read" in problem.message


def test_a_hub_that_refuses_is_a_problem_at_its_line(hub: HubServer, tmp_path: Path) -> None:  # noqa: F811
    offer(hub)
    (problem,) = judged(tmp_path, RECIPE.replace("org/wrong", "org/nowhere"))
    assert (problem.code, problem.line) == ("E434", 6)


@pytest.mark.parametrize("lie", [b"\xff" * 8, (10**9).to_bytes(8, "little"), b""])
def test_a_broken_file_far_away_is_told_as_a_broken_one_here(hub: HubServer, tmp_path: Path, lie: bytes) -> None:  # noqa: F811
    offer(hub)
    data = lie + b'{"a": 1}' + bytes(5000)
    hub.commit("org/wrong", {"wrong.safetensors": data})
    (problem,) = judged(tmp_path)
    assert problem.code in ("E410", "E412")
    assert hub.sent("wrong.safetensors") <= 40_000


def test_a_header_longer_than_the_first_request_takes_one_more(hub: HubServer, tmp_path: Path) -> None:  # noqa: F811
    offer(hub)
    judged(tmp_path)
    header = 8 + int.from_bytes(WRONG[:8], "little")
    assert header > 32_768
    assert hub.asked("wrong.safetensors") == 2
    assert hub.sent("wrong.safetensors") == header


def test_a_file_at_an_address_is_judged_by_its_header(files: HubServer, tmp_path: Path) -> None:  # noqa: F811
    wrong = files.put("wrong.safetensors", WRONG)
    text = RECIPE.replace("org/base", f"{DEMO}/model").replace("org/right", f"{DEMO}/lora/outline.safetensors")
    (problem,) = judged(tmp_path, text.replace("org/wrong", wrong))
    assert (problem.code, problem.line) == ("E602", 6)
    assert files.sent("wrong") < 200_000
    assert not (cache_folder() / "urls").exists()
    page = files.put("page.safetensors", b"<html>" + bytes(100), headers={"Content-Type": "text/html"})
    (problem,) = judged(tmp_path, text.replace("org/wrong", page))
    assert problem.code == "E438"
    other = files.put("other.pt", b"PK\x03\x04" + bytes(100))
    (problem,) = judged(tmp_path, text.replace("org/wrong", other) + "runtime: {allow_pickle: true}\n")
    assert problem.code == "W762"


def test_a_checkpoint_of_gigabytes_costs_its_header(hub: HubServer, tmp_path: Path) -> None:  # noqa: F811
    header_base(tmp_path / "sdxl", "sdxl")
    adapter = write_sparse(tmp_path / "a.safetensors", table("lora-sdxl-kohya"))
    head = adapter.read_bytes()[: 8 + int.from_bytes(adapter.read_bytes()[:8], "little")]
    hub.commit("org/right", {"a.safetensors": adapter.read_bytes()})
    text = f"recipe: 1\nname: a\nbase: {{model: {tmp_path}/sdxl}}\n"
    text += "adapters: {a: {kind: lora, model: org/right}}\nprompts: [{prompt: a bear}]\n"
    assert judged(tmp_path, text) == []
    assert hub.sent("a.safetensors") == len(head)
    stand_in = next((cache_folder() / "headers").rglob("a.safetensors"))
    assert stand_in.stat().st_size == adapter.stat().st_size
    assert stand_in.stat().st_blocks * 512 < 2 * len(head) + 8192
    assert json.loads(head[8:])
