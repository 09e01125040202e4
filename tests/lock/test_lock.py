"""Locks: written, checked, upgraded and obeyed, with a Hub on loopback and files that change."""

from __future__ import annotations

import difflib
import json
import random
import re
import signal
import time
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from support.command import ROOT, Answer, call, process, start
from support.hub import files, hub
from support.hub_server import HubServer

from recipe_runner.api import PrepareOptions, compile_recipe, prepare, run_recipe
from recipe_runner.lock.file import read_lock
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.sources.hub.cache import repository_folder
from recipe_runner.sources.missing import Unresolved

__all__ = ["files", "hub"]

MODEL = ROOT / "recipes/demo/model"
LORA = (ROOT / "recipes/demo/lora/outline.safetensors").read_bytes()
BASE = {path.relative_to(MODEL).as_posix(): path.read_bytes() for path in MODEL.rglob("*") if path.is_file()}
RECIPE = """\
recipe: 1
name: try-it
base:
  model: org/demo
adapters:
  outline: {kind: lora, model: org/outline, scale: 0.5}
prompts: [{id: star, prompt: a red star}]
sampling: {num_inference_steps: 1}
"""


@pytest.fixture
def recipe(hub: HubServer) -> Path:
    """A recipe whose base and adapter lie on the Hub."""
    hub.commit("org/demo", BASE)
    hub.commit("org/outline", {"outline.safetensors": LORA, "README.md": b"an outline"})
    path = Path("recipe.yaml")
    path.write_text(RECIPE)
    return path


def locked(capsys: pytest.CaptureFixture[str], *words: str) -> Answer:
    answer = call(capsys, "lock", "recipe.yaml", *words)
    assert answer.status == 0, answer.err
    return answer


def text() -> str:
    return Path("recipe.lock.yaml").read_text()


def changed_lines(before: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), text().splitlines(), lineterm="", n=0)
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def again(data: bytes) -> bytes:
    """The same LoRA with other numbers in it."""
    return data[:-4] + bytes(4)


@pytest.mark.usefixtures("recipe")
def test_a_lock_names_everything_and_is_the_same_each_time(
    hub: HubServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = locked(capsys)
    assert answer.out == "recipe.lock.yaml\n"
    lock = read_lock(Path("recipe.lock.yaml"))
    assert lock is not None
    tree = lock.model_dump(mode="json", exclude_none=True)
    schema = json.loads((ROOT / "schemas/lock.v1.schema.json").read_text())
    Draft202012Validator(schema).validate(tree)
    base, outline = tree["sources"]["base"], tree["sources"]["adapters.outline"]
    assert base["commit"] == hub.repositories["org/demo"].refs["main"]
    assert [file["name"] for file in base["files"]] == sorted(BASE)
    assert outline["files"][0]["autov3"] != outline["files"][0]["sha256"]
    assert list(tree["libraries"])[:2] == ["torch", "diffusers"]
    first = text()
    assert str(tmp_path) not in first
    assert "localhost" not in first
    assert "+cpu" not in first
    Path("recipe.lock.yaml").unlink()
    locked(capsys)
    assert text() == first
    assert locked(capsys).err == "nothing to change\n"


@pytest.mark.usefixtures("recipe")
def test_what_is_pinned_stays_until_it_is_upgraded(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    locked(capsys)
    first = text()
    new = hub.commit("org/outline", {"outline.safetensors": again(LORA)})
    hub.commit("org/demo", {**BASE, "vae/config.json": BASE["vae/config.json"] + b"\n"})
    locked(capsys)
    assert text() == first
    assert call(capsys, "lock", "recipe.yaml", "--check").status == 0
    answer = locked(capsys, "--upgrade", "outline")
    assert f"→ {new[:12]}" in answer.err
    assert len(changed_lines(first)) == 6
    assert "adapters.outline" in answer.err
    assert "base" not in answer.err
    locked(capsys, "--upgrade", "all")
    assert hub.repositories["org/demo"].refs["main"] in text()
    unknown = call(capsys, "lock", "recipe.yaml", "--upgrade", "vae")
    assert unknown.status == 2
    assert "error[E442]: the lock has no entry vae" in unknown.err


@pytest.mark.usefixtures("recipe")
def test_a_run_is_pinned_though_the_branch_moves(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    locked(capsys)
    plan = compile_recipe("recipe.yaml")
    hub.commit("org/outline", {"outline.safetensors": again(LORA)})
    # Another machine: nothing is cached, and the branch has moved.
    for name in ("org/demo", "org/outline"):
        repository_folder(name).rename(repository_folder(name).with_name(f"away-{name[4:]}"))
    assert all(isinstance(source, Unresolved) for source in compile_recipe("recipe.yaml").sources().values())
    assert call(capsys, "fetch", "recipe.yaml").status == 0
    assert compile_recipe("recipe.yaml").digest == plan.digest


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("org/outline", "org/outline, revision: v2", "outline: revision: the recipe says v2, the lock nothing"),
        ("org/outline", "org/other", "outline: address: the recipe says org/other, the lock org/outline"),
        ("adapters:\n  outline", "adapters:\n  line", "line: the lock has no entry for this source (org/outline)"),
        ("prompts:", "#\nprompts:", None),
        ("scale: 0.5", "scale: 0.9", None),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("recipe")
def test_a_stale_lock_says_which_entry_and_why(
    capsys: pytest.CaptureFixture[str], old: str, new: str, said: str | None
) -> None:
    locked(capsys)
    Path("recipe.yaml").write_text(RECIPE.replace(old, new))
    answer = call(capsys, "lock", "recipe.yaml", "--check")
    told = json.loads(call(capsys, "lock", "recipe.yaml", "--check", "--format", "json").out)["locks"][0]
    assert (answer.status, told["current"]) == ((1, False) if said else (0, True))
    if said is None:
        return
    assert f"error[E432]: adapters.{said}\n" in answer.out
    assert re.search(r"recipe\.yaml:[67]:\d+: error", answer.out)
    # A run without --locked warns of the same, and finds the rest under the lock.
    plan = call(capsys, "plan", "recipe.yaml")
    assert plan.status == 0
    assert f"warning[W431]: adapters.{said}\n" in plan.err
    refused = call(capsys, "run", "recipe.yaml", "--locked", "--offline")
    assert (refused.status, "error[E432]" in refused.err) == (1, True)


@pytest.mark.usefixtures("recipe")
def test_files_that_no_longer_are_needed_or_are_needed_now(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    hub.commit("org/vae", {name[4:]: data for name, data in BASE.items() if name.startswith("vae/")})
    Path("recipe.yaml").write_text(RECIPE.replace("org/demo\n", "org/demo\n  components: {vae: {model: org/vae}}\n"))
    locked(capsys)
    assert not hub.sent("org/demo/resolve/" + hub.repositories["org/demo"].refs["main"] + "/vae")
    Path("recipe.yaml").write_text(RECIPE)
    answer = call(capsys, "plan", "recipe.yaml")
    assert "provisional" in answer.out
    locked(capsys)
    assert "vae/config.json" in text()
    assert "base.components.vae" not in text()
    assert call(capsys, "lock", "recipe.yaml", "--check").status == 0


@pytest.mark.usefixtures("recipe")
def test_locking_one_more_source_fetches_no_other(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    locked(capsys)
    first = text()
    for name in ("org/demo", "org/outline"):
        repository_folder(name).rename(repository_folder(name).with_name(f"away-{name[4:]}"))
    hub.commit("org/more", {"more.safetensors": again(LORA)})
    Path("recipe.yaml").write_text(RECIPE.replace("prompts:", "  more: {kind: lora, model: org/more}\nprompts:"))
    asked = len(hub.requests)
    locked(capsys)
    assert not [request.path for request in hub.requests[asked:] if "org/more" not in request.path]
    assert not [line for line in changed_lines(first) if line.startswith("-")]
    assert call(capsys, "lock", "recipe.yaml", "--check").status == 0


def test_other_bytes_stop_a_run_before_torch_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("style.safetensors").write_bytes(LORA)
    Path("recipe.yaml").write_text(RECIPE.replace("org/demo", str(MODEL)).replace("org/outline", "style.safetensors"))
    locked(capsys)
    Path("style.safetensors").write_bytes(again(LORA))
    (tmp_path / "blocked/torch").mkdir(parents=True)
    (tmp_path / "blocked/torch/__init__.py").write_text("raise ImportError('not in this test')\n")
    for words in ([], ["--locked"], ["--frozen"], ["--offline"]):
        answer = process("run", "recipe.yaml", *words, PYTHONPATH=f"{tmp_path / 'blocked'}:{ROOT}")
        assert answer.status == 1, answer.err
        assert "recipe.yaml:6:12: error[E430]: adapters.outline: style.safetensors: sha256 mismatch: got" in answer.err
    assert call(capsys, "lock", "recipe.yaml", "--check").status == 1
    assert "adapters.outline: changed: style.safetensors" in locked(capsys).err
    assert call(capsys, "plan", "recipe.yaml").status == 0


@pytest.mark.usefixtures("recipe")
def test_a_missing_lock_is_refused_where_one_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["run", "recipe.yaml", "--locked"], ["run", "recipe.yaml", "--frozen"]):
        answer = call(capsys, *words)
        assert (answer.status, "error[E431]: recipe.lock.yaml is missing" in answer.err) == (1, True)
    answer = call(capsys, "lock", "recipe.yaml", "--check")
    assert (answer.status, "error[E431]" in answer.out) == (1, True)


@pytest.mark.usefixtures("recipe")
def test_frozen_takes_the_lock_as_it_is(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    locked(capsys)
    pinned = hub.repositories["org/outline"].refs["main"]
    hub.commit("org/outline", {"outline.safetensors": again(LORA)}, branch="v2")
    Path("recipe.yaml").write_text(RECIPE.replace("org/outline", "org/outline, revision: v2"))
    prepared = prepare("recipe.yaml", (), PrepareOptions(lock="frozen"))
    source = prepared.plan.sources()["adapters.outline"]
    assert getattr(source, "commit", None) == pinned
    Path("recipe.yaml").write_text(RECIPE.replace("org/outline", "org/other"))
    with pytest.raises(RecipeRunnerError, match="E432"):
        prepare("recipe.yaml", (), PrepareOptions(lock="frozen"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lock: 1", "lock: 2", "recipe.lock.yaml:2:7: error[E210]: this lock has format 2"),
        ("address: org/demo", "adress: org/demo", "recipe.lock.yaml:5:5: error[E201]"),
        ("size:", "size: x", "error[E20"),
        ("sources:", "sources: [", "error[E104]"),
    ],
)
@pytest.mark.usefixtures("recipe")
def test_a_broken_lock_is_told_at_its_place(capsys: pytest.CaptureFixture[str], old: str, new: str, said: str) -> None:
    locked(capsys)
    Path("recipe.lock.yaml").write_text(text().replace(old, new, 1))
    for words in (
        ["plan", "recipe.yaml"],
        ["validate", "recipe.yaml"],
        ["lock", "recipe.yaml"],
        ["fetch", "recipe.yaml"],
    ):
        answer = call(capsys, *words)
        assert answer.status == 1
        assert said in answer.err + answer.out


@pytest.mark.usefixtures("recipe")
def test_validate_warns_of_what_can_move(capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "validate", "recipe.yaml")
    assert answer.status == 0
    assert "recipe.yaml:4:10: warning[W430]: main of org/demo can move, and no lock pins it" in answer.out
    assert "recipe.yaml:6:32: warning[W430]: main of org/outline can move" in answer.out
    locked(capsys)
    assert "W430" not in call(capsys, "validate", "recipe.yaml").out
    pinned = RECIPE.replace("org/demo", f"org/demo\n  revision: {'a' * 40}").replace(
        "org/outline", "https://x.org/a.safetensors"
    )
    Path("recipe.yaml").write_text(pinned)
    answer = call(capsys, "validate", "recipe.yaml")
    assert re.findall(r"W430\]: (.*)", answer.out) == ["the file at this URL can change, and no lock pins it"]
    # A picture is a path, never a repository, however it is written.
    look = f"  look: {{kind: ip_adapter, model: org/look, revision: {'b' * 40}, image: inputs/bear.png}}\nprompts:"
    Path("recipe.yaml").write_text(RECIPE.replace("prompts:", look))
    assert "bear" not in call(capsys, "validate", "recipe.yaml").out


NO_SOCKETS = """\
import socket

class Never(socket.socket):
    def __init__(self, *arguments, **options):
        raise AssertionError("a socket was opened")

socket.socket = Never
"""


@pytest.mark.usefixtures("recipe")
def test_offline_opens_no_socket_and_lists_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "nosockets").mkdir()
    (tmp_path / "nosockets/sitecustomize.py").write_text(NO_SOCKETS)
    offline = {"PYTHONPATH": f"{tmp_path / 'nosockets'}:{ROOT}"}
    answer = process("run", "recipe.yaml", "--offline", cwd=None, **offline)
    assert answer.status == 3
    for role, address in (("base", "org/demo"), ("adapters.outline", "org/outline")):
        assert f"error[E402]: {role}: {address}: not in the local Hub cache" in answer.err
    assert answer.err.count("help: `recipe-runner fetch recipe.yaml` fetches it") == 2
    assert process("lock", "recipe.yaml", "--offline", cwd=None, **offline).status == 3
    locked(capsys)
    answer = process("lock", "recipe.yaml", "--check", cwd=None, **offline)
    assert answer.status == 0, answer.err
    answer = process("run", "recipe.yaml", "--offline", "--locked", cwd=None, **offline)
    assert (answer.status, answer.out.count("runs/try-it/")) == (0, 1), answer.err


@pytest.mark.usefixtures("recipe")
def test_a_run_fetches_what_is_missing_after_what_is_here_was_found_right(
    hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.safetensors").write_bytes(LORA[:1000])
    Path("recipe.yaml").write_text(
        RECIPE.replace("prompts:", "  more: {kind: lora, model: broken.safetensors}\nprompts:")
    )
    answer = call(capsys, "run", "recipe.yaml")
    assert (answer.status, "error[E410]" in answer.err) == (3, True)
    assert not hub.requests
    Path("recipe.yaml").write_text(RECIPE)
    run = run_recipe("recipe.yaml")
    assert run.made == 1
    lock = (run.folder / "recipe.lock.yaml").read_text()
    locked(capsys)
    assert lock.split("\n", 1)[1] == text().split("\n", 1)[1]
    assert hub.repositories["org/demo"].refs["main"] in (run.folder / "resolved.yaml").read_text()


@pytest.mark.usefixtures("recipe")
def test_fetch_proves_what_the_lock_names(files: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    url = files.put("style.safetensors", LORA)
    Path("local.safetensors").write_bytes(LORA)
    more = f"  local: {{kind: lora, model: local.safetensors}}\n  far: {{kind: lora, model: '{url}'}}\nprompts:"
    Path("recipe.yaml").write_text(RECIPE.replace("prompts:", more))
    locked(capsys)
    assert call(capsys, "fetch", "recipe.yaml").out.startswith("recipe.yaml: 4 sources, ")
    told = json.loads(call(capsys, "fetch", "recipe.yaml", "--format", "json").out)["recipes"][0]
    assert told["sources"]["adapters.far"] == ["style.safetensors"]
    Path("local.safetensors").write_bytes(again(LORA))
    path = next(repository_folder("org/outline").glob("snapshots/*/outline.safetensors")).resolve()
    path.write_bytes(again(LORA))
    answer = call(capsys, "fetch", "recipe.yaml")
    assert answer.status == 3
    assert "error[E430]: adapters.local: local.safetensors: local.safetensors: sha256 mismatch" in answer.err
    assert "error[E437]: org/outline: outline.safetensors is not the file that commit" in answer.err


@pytest.mark.usefixtures("recipe")
def test_two_at_once_bring_the_same_files(hub: HubServer, files: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    url = files.put("style.safetensors", LORA)
    Path("recipe.yaml").write_text(RECIPE.replace("prompts:", f"  far: {{kind: lora, model: '{url}'}}\nprompts:"))
    locked(capsys)
    home = hub.environment(Path("other").absolute())
    running = [start("fetch", "recipe.yaml", "--quiet", cwd=None, **home) for _ in range(3)]
    answers = [(each.communicate(timeout=120), each.returncode) for each in running]
    assert [status for _, status in answers] == [0, 0, 0], answers
    assert process("lock", "recipe.yaml", "--check", cwd=None, **home).status == 0
    assert process("fetch", "recipe.yaml", cwd=None, **home).out.endswith("all here\n")


@pytest.mark.parametrize("command", ["lock", "fetch"])
@pytest.mark.usefixtures("recipe")
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(
    hub: HubServer, files: HubServer, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    url = files.put("style.safetensors", LORA)
    Path("recipe.yaml").write_text(RECIPE.replace("prompts:", f"  far: {{kind: lora, model: '{url}'}}\nprompts:"))
    locked(capsys)
    expected = text()
    home = hub.environment(Path("killed").absolute())
    if command == "lock":
        Path("recipe.lock.yaml").unlink()
    dice = random.Random(7)
    for _ in range(5):
        running = start(command, "recipe.yaml", "--quiet", cwd=None, **home)
        time.sleep(dice.uniform(0.3, 1.2))
        running.send_signal(signal.SIGKILL)
        running.communicate()
        assert not Path("recipe.lock.yaml").exists() or text() == expected
    answer = process(command, "recipe.yaml", "--quiet", cwd=None, **home)
    assert answer.status == 0, answer.err
    assert process("lock", "recipe.yaml", "--check", cwd=None, **home).status == 0
    assert text() == expected
