"""The command `diff`: its formats, exit statuses, and its work as git's own diff command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ROOT, call, process
from support.git import Repository, repository

__all__ = ["repository"]

DEMO = ROOT / "recipes/demo"
RECIPE = f"""\
recipe: 1
name: demo
base: {{model: {DEMO}/model}}
adapters: {{outline: {{kind: lora, model: {DEMO}/lora/outline.safetensors, scale: 0.6}}}}
prompts:
  - {{id: star, prompt: a *red* star}}
seeds: [1, 2]
"""
OTHER = RECIPE.replace("0.6", "0.8").replace("*red*", "<b>blue</b>")
LOCK = """\
lock: 1
sources:
  base:
    address: some/model
    commit: {commit}
    files:
      - name: unet/model.safetensors
        size: 1
        sha256: {sha}
"""


@pytest.fixture(autouse=True)
def _files() -> None:
    Path("a.yaml").write_text(RECIPE)
    Path("b.yaml").write_text(OTHER)
    Path("c.yaml").write_text(f"# a comment\n{RECIPE}")
    Path("broken.yaml").write_text("recipe: 1\n")


@pytest.mark.parametrize(
    ("sides", "status"),
    [
        (("a.yaml", "c.yaml"), 0),
        (("a.yaml", "b.yaml"), 1),
        (("a.yaml",), 2),
        (("a.yaml", "broken.yaml"), 3),
        (("a.yaml", "nothing.yaml"), 3),
    ],
)
@pytest.mark.parametrize("output_format", ["human", "json", "markdown", "github"])
def test_the_exit_status_says_whether_they_are_the_same(
    capsys: pytest.CaptureFixture[str], sides: tuple[str, ...], status: int, output_format: str
) -> None:
    answer = call(capsys, "diff", *sides, "--format", output_format)
    assert answer.status == status
    if output_format == "json" and status != 2:
        assert json.loads(answer.out)
    if status == 3:
        assert "E202" in answer.out + answer.err or "E831" in answer.out + answer.err


def test_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "diff", "a.yaml", "b.yaml")
    assert (
        answer.out
        == """\
recipe: a.yaml → b.yaml

adapters
  ~ outline.scale: 0.6 → 0.8

prompts
  ~ star.prompt: a [-*red*-]{+<b>blue</b>+} star

images
  2 images change; 2 images to make, 100 denoising steps
  2 change: prompts.star.prompt: *red* → <b>blue</b>
  2 change: adapters.outline.scale: 0.6 → 0.8
"""
    )


def test_markdown_is_text_and_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, "diff", "a.yaml", "b.yaml", "--format", "markdown").out
    assert "- changed outline\\.scale: ~~0\\.6~~ → **0\\.8**" in out
    assert "~~\\*red\\*~~**\\<b\\>blue\\</b\\>**" in out
    assert "<b>" not in out


def test_json_has_the_words_the_places_and_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    tree = json.loads(call(capsys, "diff", "a.yaml", "b.yaml", "--format", "json").out)
    assert (tree["kind"], tree["same"]) == ("recipe", False)
    prompt = tree["changes"][1]
    assert (prompt["path"], prompt["place"]["line"]) == ("prompts.star.prompt", 6)
    assert "".join(word["text"] for word in prompt["words"] if word["sign"] != "+") == "a *red* star"
    assert tree["cost"]["count"] == {"changes": 2, "stays": 0, "appears": 0, "vanishes": 0}
    assert all(image["old_key"] != image["new_key"] for image in tree["cost"]["images"])


def test_github_annotates_the_new_file(capsys: pytest.CaptureFixture[str]) -> None:
    lines = call(capsys, "diff", "a.yaml", "b.yaml", "--format", "github").out.splitlines()
    assert lines[0].startswith("::notice file=b.yaml,line=4,col=")
    assert lines[0].endswith("title=adapters.outline.scale changed::adapters.outline.scale: 0.6 → 0.8")


def test_locks_entry_by_entry(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.lock.yaml").write_text(LOCK.format(commit="a" * 40, sha="c" * 64))
    Path("b.lock.yaml").write_text(LOCK.format(commit="b" * 40, sha="d" * 64))
    answer = call(capsys, "diff", "a.lock.yaml", "b.lock.yaml")
    assert answer.status == 1
    assert f"~ sources.base.commit: {'a' * 40} → {'b' * 40}" in answer.out
    assert "~ sources.base.files.unet/model.safetensors.sha256: cccccccccccc → dddddddddddd" in answer.out
    assert call(capsys, "diff", "a.lock.yaml", "a.lock.yaml").status == 0


def test_two_recipes_are_compared_without_torch() -> None:
    code = (
        "import sys\nfrom recipe_runner.cli.main import main\n"
        "status = main(['diff', 'a.yaml', 'b.yaml'])\n"
        "slow = ('torch', 'diffusers', 'transformers', 'peft', 'numpy', 'PIL')\n"
        "heavy = [name for name in slow if name in sys.modules]\n"
        "assert (status, heavy) == (1, []), heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)}, capture_output=True)


def test_as_gits_diff_command(repository: Repository) -> None:
    command = f"{sys.executable} -m recipe_runner diff --git"
    repository.git("config", "diff.recipe.command", command)
    repository.commit(
        {".gitattributes": "*.yaml diff=recipe\n", "r/a.yaml": RECIPE, "r/same.yaml": RECIPE, "z.txt": "1\n"}
    )
    (repository.path / "r/a.yaml").write_text(OTHER)
    (repository.path / "r/same.yaml").write_text(f"# only this\n{RECIPE}")
    (repository.path / "r/bad.yaml").write_text("recipe: [1\n")
    (repository.path / "z.txt").write_text("2\n")
    repository.git("add", "-N", "r/bad.yaml")
    shown = repository.git("diff", PYTHONPATH=str(ROOT))
    assert "recipe: a/r/a.yaml → b/r/a.yaml" in shown
    assert "  ~ outline.scale: 0.6 → 0.8" in shown
    assert "recipe: a/r/same.yaml → b/r/same.yaml\n  the same by meaning" in shown
    assert "error[E104]" in shown
    assert "+recipe: [1" in shown
    assert "+2" in shown
    # A file that is new, gone or renamed, and a revision's own diff.
    repository.git("mv", "r/same.yaml", "r/moved.yaml")
    repository.git("rm", "-qf", "r/a.yaml")
    shown = repository.git("diff", "--cached", "-M", PYTHONPATH=str(ROOT))
    assert "recipe: a/r/a.yaml → b/r/moved.yaml\n  the same by meaning" in shown
    assert "recipe: a/r/same.yaml → (nothing)\n\nrecipe\n  - name: demo\n\nimages\n  2 images vanish\n" in shown
    repository.git("commit", "-qm", "moved")
    assert "r/a.yaml" in repository.git("show", "--ext-diff", PYTHONPATH=str(ROOT))


def test_git_gives_seven_arguments() -> None:
    assert process("diff", "--git", "a.yaml", "b.yaml").status == 2
