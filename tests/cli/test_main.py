"""The command line's door: help, usage, errors, exit statuses, and the small commands behind it."""

from __future__ import annotations

import ast
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ROOT, call, process

from recipe_runner.cli import main as door
from recipe_runner.cli.main import COMMANDS, main

RECIPE = "recipe: 1\nname: a\nbase: {model: somebody/model}\nprompts: [{prompt: a bear}]\n"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help_with_examples(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: recipe-runner {command}" in out
    assert "examples:" in out
    assert all(len(line) <= 130 for line in out.splitlines())


def test_the_help_names_every_command_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(f"\n    {name}" in out for name in COMMANDS)
    modules = {path.stem.removesuffix("_").replace("_", "-") for path in (ROOT / "recipe_runner/cli").glob("*.py")}
    others = {"--init-", "main", "bug", "environment", "options", "output", "git-driver", "rerun"}
    assert set(COMMANDS) == modules - others


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["bake"], "invalid choice: 'bake'"),
        (["plan"], "the following arguments are required: RECIPE"),
        (["plan", "a.yaml", "--format", "xml"], "invalid choice: 'xml'"),
        (["run", "a.yaml", "--quiet", "--verbose"], "not allowed with argument"),
        (["run", "a.yaml", "--devic", "cpu"], "unrecognized arguments: --devic cpu"),
    ],
)
def test_wrong_usage_is_2_and_says_how_to_get_help(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert told in err
    assert "--help" in err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["valdate", "a.yaml"], "recipe-runner: argument COMMAND: invalid choice: 'valdate'"),
        (["valdate", "a.yaml"], "; did you mean validate?"),
        (
            ["validate", "a.yaml", "--weight"],
            "recipe-runner validate: unrecognized arguments: --weight (did you mean --weights?)",
        ),
        (
            ["plan", "a.yaml", "b.yaml"],
            "recipe-runner plan: unrecognized arguments: b.yaml\nTry `recipe-runner plan --help`.",
        ),
        (["export", "a.yaml", "--to", "comfy"], "did you mean comfyui?"),
        (["verify", "runs/a", "--max-abs", "-3"], "argument --max-abs: -3 is not between 0 and 255"),
        (["verify", "runs/a", "--ssim", "nan"], "argument --ssim: nan is not between -1 and 1"),
    ],
)
def test_a_slip_of_the_command_line_is_told_with_what_was_meant(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert meant in capsys.readouterr().err


def test_a_folder_of_models_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "import", "a.png", "--models", "nowhere")
    assert (answer.status, answer.err) == (2, "--models: not a folder: nowhere\n")


def test_an_invalid_recipe_is_1_with_its_problems(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text(RECIPE.replace("prompts", "promts"))
    answer = call(capsys, "plan", "a.yaml")
    assert (answer.status, answer.out) == (1, "")
    assert "a.yaml:4:1: error[E201]" in answer.err
    assert "`prompts`" in answer.err


def test_a_missing_recipe_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "run", "nothing.yaml")
    assert answer.status == 3
    assert "nothing.yaml" in answer.err


def test_problems_as_json_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text(RECIPE.replace("prompts", "promts"))
    answer = call(capsys, "plan", "a.yaml", "--format", "json")
    assert answer.status == 1
    assert [problem["code"] for problem in json.loads(answer.out)["problems"]] == ["E202", "E201"]


def test_a_bug_is_4_with_a_log_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> int:
        message = "impossible"
        raise AssertionError(message)

    monkeypatch.setattr("recipe_runner.cli.init.run", broken)
    answer = call(capsys, "init")
    assert answer.status == 4
    assert answer.err.startswith("error[E901]: this is a bug in recipe-runner: AssertionError: impossible\n")
    assert "Traceback" not in answer.err
    log = Path(answer.err.split("the log in ")[1].strip())
    assert "Traceback" in log.read_text()
    assert "recipe-runner init" in log.read_text()
    log.unlink()
    with pytest.raises(AssertionError, match="impossible"):
        main(["--debug", "init"])


def test_a_reader_that_goes_away_is_no_error() -> None:
    Path("a.yaml").write_text(RECIPE.replace("somebody/model", "somebody/model}\nseeds: {count: 5000"))
    command = f"{sys.executable} -m recipe_runner plan a.yaml --verbose | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(  # noqa: S602 - a pipe is what is tested
        command, shell=True, env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "recipe a: 5000 images (1 variant, 1 prompt)\n"
    assert answer.stderr == ""


def test_init_writes_a_recipe_that_validates(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "init", "My Style.yaml").out == "My Style.yaml\n"
    text = Path("My Style.yaml").read_text()
    assert "name: my-style\n" in text
    assert call(capsys, "validate", "My Style.yaml").status == 0
    again = call(capsys, "init", "My Style.yaml")
    assert again.status != 0
    assert "--force" in again.err
    assert call(capsys, "init", "My Style.yaml", "--force").status == 0
    assert call(capsys, "init", "-").out.startswith("# A recipe:")
    # Every line that is commented out for the user to try is right too.
    sections = {
        "matrix": "matrix:\n  sampling.guidance_scale: [5.0, 7.5]\n",
        "adapters": text[text.index("# adapters:") : text.index("\nprompts:")].replace("\n# ", "\n")[2:] + "\n",
    }
    for section in sections.values():
        Path("more.yaml").write_text(text + section)
        assert call(capsys, "validate", "more.yaml").status == 0, section


def test_init_where_nothing_can_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "init", "nowhere/a.yaml")
    assert answer.status == 3
    assert "nowhere/a.yaml" in answer.err


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["validate", "a.yaml"], ["problems", "errors", "warnings"]),
        (["plan", "a.yaml"], ["name", "plan_digest", "provisional"]),
        (["init", "b.yaml"], ["path"]),
        (["init", "-"], ["recipe"]),
        (["guide"], ["topics"]),
        (["guide", "sweep"], ["topic", "kind", "title", "page"]),
        (["explain"], ["codes"]),
        (["explain", "E201"], ["code", "title", "exit_status", "page"]),
        (["schema"], ["$schema", "$id"]),
        (["schema", "--write", "."], ["written"]),
        (["schema", "--check", str(ROOT / "schemas")], ["stale"]),
        (["completion", "bash"], ["shell", "script"]),
    ],
    ids=str,
)
def test_every_command_answers_with_one_json_object(
    capsys: pytest.CaptureFixture[str], words: list[str], keys: list[str]
) -> None:
    Path("a.yaml").write_text(RECIPE)
    answer = call(capsys, *words, "--format", "json")
    assert answer.status == 0
    assert list(json.loads(answer.out))[: len(keys)] == keys


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_scripts(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    answer = call(capsys, "completion", shell)
    assert answer.status == 0
    assert "validate" in answer.out
    assert "quiet" in answer.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("export x.yaml --to ", {"python", "comfyui", "a1111"}),
        ("export x.yaml --t", {"--to"}),
        ("im", {"import"}),
        ("import --mo", {"--models"}),
        ("log --ml", {"--mlflow"}),
    ],
)
def test_completion_knows_what_commands_take(typed: str, offered: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("completion.bash").write_text(call(capsys, "completion", "bash").out)
    words = ["recipe-runner", *typed.split(" ")]
    script = (
        f"source completion.bash; COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); COMP_CWORD={len(words) - 1}; "
        '_shtab_recipe_runner "" "${COMP_WORDS[COMP_CWORD]}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=False)
    assert {line.strip() for line in done.stdout.split()} == offered, done.stderr


def test_completion_in_a_real_bash(capsys: pytest.CaptureFixture[str]) -> None:
    Path("completion.bash").write_text(call(capsys, "completion", "bash").out)
    script = (
        "source completion.bash; COMP_WORDS=(recipe-runner va); COMP_CWORD=1; "
        "_shtab_recipe_runner; echo ${COMPREPLY[*]}"
    )
    answer = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=False)
    assert answer.stdout == "validate\n", answer.stderr


def test_python_m_is_the_same_door() -> None:
    answer = process("--version")
    assert answer.out.startswith("recipe-runner ")


def test_starting_imports_neither_pydantic_nor_rich_nor_torch() -> None:
    Path("a.yaml").write_text(RECIPE)
    code = (
        "import sys; from recipe_runner.cli.main import main; status = main(['validate', 'a.yaml']);"
        "heavy = ('torch', 'diffusers', 'transformers', 'peft', 'pydantic', 'rich', 'numpy', 'PIL', 'huggingface_hub');"
        "print([name for name in heavy if name in sys.modules], status)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.endswith("[] 0\n"), answer.stdout


def test_only_the_door_turns_errors_into_exit_statuses() -> None:
    for path in sorted((ROOT / "recipe_runner").rglob("*.py")):
        if path in (Path(door.__file__), ROOT / "recipe_runner/__main__.py"):
            continue
        tree = ast.parse(path.read_text())
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert "exit" not in names, path
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "SystemExit"], path


@pytest.mark.parametrize(
    ("output", "said"), [("> /dev/full", os.strerror(errno.ENOSPC)), (">&-", os.strerror(errno.EBADF))]
)
@pytest.mark.parametrize("words", ["plan a.yaml", "plan a.yaml --format json", "--help", "explain E801", "promts"])
def test_an_answer_that_cannot_be_written_is_3(output: str, said: str, words: str) -> None:
    Path("a.yaml").write_text(RECIPE)
    answer = shell(f"{words} {output}")
    if words == "promts":
        # It says nothing on stdout.
        assert answer.returncode == 2
    elif words == "--help" and output == ">&-":
        # argparse prints help where it can.
        assert answer.returncode in (0, 3)
    else:
        assert answer.returncode == 3
        assert answer.stderr.startswith(f"error[E801]: cannot write to standard output: {said}\n")
    assert "Exception" not in answer.stderr
    assert answer.stdout == ""


@pytest.mark.parametrize("output", ["2> /dev/full", "2>&-", "2> /dev/full > /dev/full", "2>&- >&- <&-"])
def test_what_is_said_on_stderr_may_be_lost(output: str) -> None:
    Path("a.yaml").write_text(RECIPE)
    Path("b.yaml").write_text(RECIPE.replace("prompts", "promts"))
    lost = ">" in output.replace("2>", "")
    assert shell(f"plan a.yaml {output}").returncode == (3 if lost else 0)
    assert shell(f"plan b.yaml {output}").returncode == 1
    assert shell(f"promts {output}").returncode == 2
    if not lost:
        assert shell(f"plan a.yaml {output}").stdout == shell("plan a.yaml").stdout


def shell(words: str) -> subprocess.CompletedProcess[str]:
    """The command line in a shell, which redirects its streams."""
    command = f"{sys.executable} -m recipe_runner {words}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(  # noqa: S602 - redirections are what is tested
        command, shell=True, env=environment, capture_output=True, text=True, check=False
    )
