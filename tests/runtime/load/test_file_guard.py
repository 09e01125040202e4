"""What is read in a block is what was hashed, or the block fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.handles import file_source

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.load.file_guard import unchanged

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"weights")
    first, second = file_source(tmp_path / "a"), file_source(tmp_path / "b")
    with unchanged(first, second) as watches:
        pass
    with pytest.raises(RecipeRunnerError) as caught, unchanged(first, second):
        (tmp_path / "b").write_bytes(b"other")
    (problem,) = caught.value.problems
    assert (problem.code, problem.message.partition(":")[0]) == ("E508", "b")
    with pytest.raises(RecipeRunnerError, match="E508"), unchanged(second):
        pass
    watches[0].check()
    with pytest.raises(RecipeRunnerError, match="E508"):
        watches[1].check()


def test_what_fails_in_the_block_is_what_is_raised(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    with pytest.raises(FileNotFoundError), unchanged(file_source(tmp_path / "a")):
        remove_twice(tmp_path / "a")


def remove_twice(path: Path) -> None:
    path.unlink()
    path.unlink()
