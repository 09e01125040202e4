"""How problems look to people, programs and GitHub."""

from __future__ import annotations

import io
import json

import pytest

from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem
from recipe_runner.report.terminal.colour import wants_colour
from recipe_runner.report.terminal.problems import print_problems, problem_github, problem_text

PROBLEM = Problem(
    code="E201",
    message="unknown key `hieght`",
    place=Place("recipes/a.yaml", 14, 3, 6, "  hieght: 512"),
    hint="Did you mean `height`?",
)
WARNING = Problem(code="W331", message="no prompt uses it", place=Place("recipes/a.yaml", 2, 1), severity="warning")
NOWHERE = Problem(code="E118", message="no such device")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_a_problem_reads_like_a_compilers() -> None:
    assert problem_text(PROBLEM) == (
        "recipes/a.yaml:14:3: error[E201]: unknown key `hieght`\n"
        "14 |   hieght: 512\n"
        "   |   ^^^^^^\n"
        "   = help: Did you mean `height`?\n"
    )


def test_a_problem_without_a_place_is_its_message() -> None:
    assert problem_text(NOWHERE) == "error[E118]: no such device\n"
    assert problem_github(NOWHERE) == "::error title=E118::no such device"


@pytest.mark.parametrize(
    ("line", "column", "width", "expected"),
    [
        ("\tkey: x", 2, 3, "1 | \tkey: x\n  | \t^^^\n"),
        ("\u65e5\u672c: x", 1, 2, "1 | \u65e5\u672c: x\n  | ^^^^\n"),
        ("\u65e5\u672c: x", 5, 1, "1 | \u65e5\u672c: x\n  |       ^\n"),
        ("e\u0301: x", 4, 1, "1 | e\u0301: x\n  |   ^\n"),
        ("short", 6, 1, "1 | short\n  |      ^\n"),
        ("short", 3, 99, "1 | short\n  |   ^^^\n"),
        ("a\x1b[31mb", 2, 1, "1 | a\\u001b[31mb\n  |  ^^^^^^\n"),
    ],
)
def test_the_caret_stands_under_what_it_means(line: str, column: int, width: int, expected: str) -> None:
    problem = Problem(code="E201", message="m", place=Place("a", 1, column, width, line))
    assert problem_text(problem).partition("\n")[2] == expected


@pytest.mark.parametrize("column", [1, 200, 5_000, 9_999])
def test_of_a_long_line_the_part_around_the_caret_is_shown(column: int) -> None:
    line = "".join(chr(ord("a") + index % 26) for index in range(9_999))
    problem = Problem(code="E201", message="m", place=Place("a", 1, column, 9, line))
    _, shown, caret = problem_text(problem).splitlines()
    assert len(shown) < 180
    assert shown[caret.index("^")] == line[column - 1]


def test_colour_is_for_terminals_whose_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    terminal = Terminal()
    print_problems([PROBLEM], file=terminal)
    assert "\x1b[1;31merror[E201]\x1b[0m" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(Terminal())


def test_json_is_one_object() -> None:
    stream = io.StringIO()
    print_problems([PROBLEM, WARNING, NOWHERE], "json", file=stream)
    answer = json.loads(stream.getvalue())
    assert (answer["errors"], answer["warnings"]) == (2, 1)
    assert answer["problems"][0] == {
        "code": "E201",
        "title": "unknown key",
        "severity": "error",
        "message": "unknown key `hieght`",
        "path": "recipes/a.yaml",
        "line": 14,
        "column": 3,
        "width": 6,
        "hint": "Did you mean `height`?",
    }
    assert answer["problems"][2]["path"] is None
    assert answer["problems"][2]["line"] is None
    stream = io.StringIO()
    print_problems([], "json", file=stream)
    assert json.loads(stream.getvalue()) == {"problems": [], "errors": 0, "warnings": 0}


def test_github_annotations_are_escaped() -> None:
    assert problem_github(PROBLEM) == (
        "::error file=recipes/a.yaml,line=14,col=3,endColumn=9,title=E201::unknown key `hieght` Did you mean `height`?"
    )
    assert problem_github(WARNING).startswith("::warning file=recipes/a.yaml,line=2,")
    odd = Problem(code="E104", message="50%\r\nof: a, b", place=Place("a,b:c%.yaml", 1, 1))
    assert problem_github(odd) == (
        "::error file=a%2Cb%3Ac%25.yaml,line=1,col=1,endColumn=2,title=E104::50%25%0Aof: a, b"
    )


def test_people_read_stderr_and_programs_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    print_problems([PROBLEM, WARNING])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n\n") == 1
    print_problems([PROBLEM], "github")
    print_problems([], "human")
    captured = capsys.readouterr()
    assert captured.out.startswith("::error")
    assert captured.err == ""
