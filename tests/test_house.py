"""The figures of `benchmarks/house.py` count what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import house
import pytest
from support.command import ROOT

TEXT = """\
# A comment.

def plain(a, b):
    return a if b else 0


class Twice:
    def deep(self, a):
        first = 1 if a else 2 if self else 3
        inner = [[x for x in y] for y in a]
        return [x for y in a for x in y], first, inner
"""


CHECKING = "TYPE_CHECKING"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe_runner"
    written = {
        "__init__.py": "",
        "one.py": TEXT,
        "two/__init__.py": "from recipe_runner.two import inner",
        "two/inner.py": "def late():\n    from recipe_runner.three import other\n",
        "three/__init__.py": "",
        "three/other.py": f"from typing import {CHECKING}\nif {CHECKING}:\n from recipe_runner.two.inner import late\n",
        "three/last.py": "from recipe_runner import one\nclass Twice: ...\n",
    }
    for name, text in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_what_a_line_decides(package: Path) -> None:
    path = package / "one.py"
    assert [place.line for place in house.ternaries(path)] == [4, 9, 9]
    assert [place.line for place in house.comprehensions(path)] == [10, 10, 11]
    assert [place.line for place in house.nested(path)] == [9, 10]
    assert [place.line for place in house.nested(path, house.TERNARIES)] == [9]
    assert [(count, place.line) for count, place in house.complexities(path)] == [(7, 8), (2, 3)]
    assert [place.text for place in house.function_lengths(path)] == ["deep: 4 lines", "plain: 2 lines"]
    assert (house.line_count(path), house.written_lines(path)) == (11, 7)


def test_modules_packages_and_cycles(package: Path) -> None:
    assert house.root_modules(package) == ["one"]
    assert house.packages(package) == ["three", "two"]
    graph = house.import_graph(package)
    assert graph["two"] == {"two.inner"}
    assert graph["two.inner"] == {"three.other"}
    assert graph["three.last"] == {"one"}
    # Imports inside functions and for types count.
    assert house.cycles(graph) == [["three.other", "two.inner"]]
    assert house.cycles(house.package_graph(package)) == [["three", "two"]]
    assert [place.text for place in house.shared_class_names(package)] == ["Twice", "Twice"]


def test_the_program_prints_every_figure_and_lists_places() -> None:
    program = [sys.executable, str(ROOT / "tests/benchmarks/house.py")]
    printed = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) == len(house.figures())
    listed = subprocess.run(
        [*program, "--list", "functions", "recipe_runner/canonical.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.startswith("recipe_runner/canonical.py:")


def test_the_package_keeps_its_limits() -> None:
    over = [str(figure) for figure in house.figures() if not figure.is_met]
    assert not over, "`python tests/benchmarks/house.py --list …` names the places"
