"""Whatever a file holds, the answer is problems with line and column: never a traceback, never a hang."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.cases import INVALID, VALID
from support.command import ROOT
from support.trees import TREES, mutated

from recipe_runner.document.document import parse_document
from recipe_runner.problems.codes import CODES
from recipe_runner.problems.problem import Problem, RecipeRunnerError
from recipe_runner.recipe.load import problems_of
from recipe_runner.recipe.matrix import variants
from recipe_runner.recipe.types.recipe import Recipe
from recipe_runner.report.terminal.problems import problem_github, problem_text

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = 2_000
SECONDS = 60
"""A watchdog, not a measure: the slowest case takes a few hundredths of a second."""

GOOD = [path.read_bytes() for path in VALID]
SOURCES = [*GOOD, *(path.read_bytes() for path in INVALID)]
TOKENS = [
    b":", b": ", b"- ", b"\t", b"  ", b"\n", b"\r\n", b"{", b"}", b"[", b"]", b"'", b'"', b"#", b"&a ", b"*a",
    b"!x ", b"|", b">-",
    b"%YAML 1.1\n---\n", b"---\n", b"...\n", b"<<: *a\n", b"? ", b"@", b"`", b"\\x", b"\xff", b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\x00", b"\x85", b".nan", b"1e999", b"-", b"~", b"null", b"true", b"9" * 30, b"\xf0\x9f\x90\xbb",
    b"matrix:\n  ", b"[[[[",
]  # fmt: skip
OPTIONS = [
    b"seeds=[1]",
    b"sampling.height=",
    b"a..b=1",
    b"prompts[0]=x",
    b"matrix={seeds: [[1]]}",
    b"base.model=",
    b"=",
    b"x",
]


def byte_mutation(data: bytes, source: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(source.choice([1, 1, 1, 2, 4])):
        start = source.randint(0, len(made))
        action = source.randrange(4)
        if action == 0:
            made[start : start + source.randint(1, 8)] = b""
        elif action == 1:
            made[start:start] = source.choice(TOKENS)
        elif action == 2 and made:
            made[start % len(made)] = source.randrange(256)
        else:
            made[start : start + source.randint(0, 4)] = source.choice(TOKENS)
    return bytes(made)


def line_mutation(data: bytes, source: random.Random) -> bytes:
    lines = data.split(b"\n")
    for _ in range(source.choice([1, 1, 2])):
        index = source.randrange(len(lines))
        action = source.randrange(5)
        if action == 0 and len(lines) > 1:
            del lines[index]
        elif action == 1:
            lines.insert(index, source.choice(lines))
        elif action == 2:
            lines[index] = b" " * source.randint(0, 5) + lines[index].lstrip()
        elif action == 3:
            other = source.randrange(len(lines))
            lines[index], lines[other] = lines[other], lines[index]
        else:
            lines.insert(index, source.choice(source.choice(SOURCES).split(b"\n")))
    return b"\n".join(lines)


def tree_mutation(source: random.Random) -> bytes:
    tree: Any = source.choice(TREES)
    for _ in range(source.choice([1, 1, 1, 2, 4])):
        if tree:
            tree = mutated(tree, source)
    return yaml.safe_dump(
        tree, sort_keys=False, allow_unicode=True, default_flow_style=source.choice([None, True])
    ).encode()


def cases() -> Iterator[tuple[bytes, list[str]]]:
    source = random.Random(20_261_122)
    for number in range(RUNS):
        kind = number % 3
        data = source.choice(GOOD if source.random() < 0.7 else SOURCES)
        if kind == 0:
            data = byte_mutation(data, source)
        elif kind == 1:
            data = line_mutation(data, source)
        else:
            data = tree_mutation(source)
        overrides = []
        if number % 5 == 0:
            overrides = [byte_mutation(source.choice(OPTIONS), source).decode(errors="surrogateescape")]
        yield data, overrides


def judged(data: bytes, overrides: list[str]) -> tuple[Problem, ...]:
    try:
        document = parse_document(data, "fuzz.yaml").with_overrides(overrides)
    except RecipeRunnerError as error:
        return error.problems
    problems = problems_of(document)
    if not any(problem.severity == "error" for problem in problems):
        # What has no problem is a recipe, and so is each of its variants.
        Recipe.model_validate(document.tree)
        for variant in variants(document)[:20]:
            Recipe.model_validate(variant.tree)
    return problems


@pytest.fixture
def _watchdog() -> Iterator[None]:
    def barked(*_: object) -> None:
        message = "this case hangs"
        raise AssertionError(message)

    before = signal.signal(signal.SIGALRM, barked)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_watchdog")
def test_no_text_brings_down_the_checks() -> None:
    outcomes = {"valid": 0, "unreadable": 0, "invalid": 0}
    for data, overrides in cases():
        signal.alarm(SECONDS)
        try:
            problems = judged(data, overrides)
        except Exception as error:  # noqa: BLE001 - whatever it is, this is the input
            pytest.fail(f"{data!r} with {overrides!r}: {error!r}")
        for problem in problems:
            assert problem.code in CODES
            assert problem.message
            assert problem.line >= 1, (problem, data)
            assert problem.column >= 1, (problem, data)
            assert problem.column <= len(problem.place.source_line) + 1, (problem, data)
            assert "\x1b" not in problem_text(problem)
            assert "\n" not in problem_github(problem)
        errors = [problem for problem in problems if problem.severity == "error"]
        outcome = "valid" if not errors else "unreadable" if errors[0].code.startswith("E1") else "invalid"
        outcomes[outcome] += 1
    # Each outcome was seen often, so each part of the checks was reached.
    assert min(outcomes.values()) > RUNS // 20, outcomes


def test_no_document_of_any_kind_brings_a_command_down_or_leads_it_outside() -> None:
    # A process of its own: the hook that watches files stays for good, and its memory is limited.
    words = [sys.executable, str(ROOT / "tests/benchmarks/fuzz.py"), "--documents", "10000", "--seed", "2026"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert answer.returncode == 0, answer.stdout[-20_000:] + answer.stderr[-5_000:]


_GUARDED = """
import os, pickle, subprocess, sys
sys.path.insert(0, "tests")
from pathlib import Path
from support.file_guard import Guard
inside, outside = Path(sys.argv[1]), Path(sys.argv[2])
(inside / "link").symlink_to(outside)
guard = Guard([inside])
with guard.watching(reads=True) as touched:
    (inside / "a").write_text("x")
    (inside / "a").rename(inside / "b")
    (inside / "b").unlink()
    import json.tool
assert not touched, touched
def read(): (outside / "secret").read_text()
def write(): (outside / "new").write_text("x")
def through(): (inside / "link" / "new").write_text("x")
def make(): (outside / "folder").mkdir()
def move(): (outside / "new").rename(inside / "new")
def remove(): (outside / "secret").unlink()
def link(): (outside / "l").symlink_to("secret")
def start(): subprocess.run(["true"])
def unpickle(): pickle.loads(b"cbuiltins\\nlist\\n.")
for action in (read, write, through, make, move, remove, link, start, unpickle):
    with guard.watching(reads=True) as touched:
        action()
    assert touched, action
"""


def test_the_guard_notices_what_lies_outside(tmp_path: Path) -> None:
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "secret").write_text("x")
    words = [sys.executable, "-c", _GUARDED, str(tmp_path / "inside"), str(tmp_path / "outside")]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
