"""The commands of the text layer: validate, schema, explain."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.cases import INVALID, VALID

from recipe_runner.cli.main import main

SCHEMAS = Path(__file__).parents[2] / "schemas"
QUICKSTART = Path(__file__).parents[2] / "recipes/quickstart.yaml"
GOOD = "recipe: 1\nname: x\nbase: {model: m}\nprompts: [{prompt: a}]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "good.yml").write_text(GOOD)
    (tmp_path / "a.yaml").write_text(GOOD + "sedes: [1]\n")
    (tmp_path / "a.lock.yaml").write_text("lock: 1\nsources: {}\n")
    (tmp_path / "notes.txt").write_text("not a recipe either\n")
    return tmp_path


def test_valid_recipes_leave_zero_and_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", *map(str, VALID)]) == 0
    captured = capsys.readouterr()
    # They name Hub repositories, and what no lock pins is worth a warning.
    assert set(re.findall(r"(?:error|warning)\[(.*?)\]", captured.out)) == {"W430"}
    assert captured.err.startswith(f"{len(VALID)} recipes: 0 errors, ")
    assert main(["validate", str(QUICKSTART)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "1 recipe: 0 errors, 0 warnings\n")


def test_every_problem_of_every_recipe_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    files = [path for path in INVALID if not path.stem.startswith("set-")]
    warned = [path for path in files if path.stem.startswith("warning-")]
    assert main(["validate", *map(str, files)]) == 1
    captured = capsys.readouterr()
    for path in files:
        assert str(path) in captured.out
    assert captured.err.startswith(f"{len(files)} recipes: ")
    assert main(["validate", *map(str, warned)]) == 0


def test_a_folder_stands_for_its_recipes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder), str(folder / "a.yaml"), "--format", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [problem["path"] for problem in answer["problems"]] == [str(folder / "a.yaml")]
    assert main(["validate", str(folder), "--format", "github"]) == 1
    assert capsys.readouterr().out.count("::error file=") == 1


def test_a_folder_without_recipes_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(tmp_path)]) == 2
    assert "no recipes" in capsys.readouterr().err


def test_overrides_apply_to_every_recipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder / "b"), "--set", "sampling.height=512"]) == 0
    assert main(["validate", str(folder / "b"), "--set", "sampling.height=513"]) == 1
    assert "--set:1:17: error[E209]" in capsys.readouterr().out


def test_a_missing_file_could_not_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(tmp_path / "missing.yaml")]) == 3
    assert "error[E118]" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["recipe", "lock", "manifest"])
def test_schema_prints_the_file_that_is_checked_in(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    assert capsys.readouterr().out == (SCHEMAS / f"{name}.v1.schema.json").read_text(encoding="utf-8")


def test_schema_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--check", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("is not current") == 3
    assert main(["schema", "--write", str(tmp_path / "new")]) == 0
    assert main(["schema", "--check", str(tmp_path / "new")]) == 0


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "e104"]) == 0
    assert capsys.readouterr().out.startswith("# E104: the text is not YAML\n")
    assert main(["explain"]) == 0
    assert "E201  unknown key\n" in capsys.readouterr().out
    assert main(["explain", "104"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Did you mean `E104`?" in captured.err


@pytest.mark.parametrize("name", ["validate", "schema", "explain"])
def test_help_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"recipe-runner {name} " in capsys.readouterr().out.split("examples:")[1]
