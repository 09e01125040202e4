"""Files are the old or the new, whole, whatever fails while they are written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.records import FailingSystem, Killed

from recipe_runner.disk import atomic
from recipe_runner.problems.problem import RecordError

OLD, NEW = b"old " * 50, b"new " * 70


def calls_of_a_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    counting = FailingSystem(fails_at=-1)
    monkeypatch.setattr(atomic, "system", counting)
    atomic.write_file(path, NEW)
    return counting.calls


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic.write_file(path, OLD)
    atomic.write_file(path, NEW)
    assert path.read_bytes() == NEW
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.json", "cwd"]


def test_a_write_that_takes_only_parts_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls_of_a_write(tmp_path / "a", monkeypatch) > 5
    assert (tmp_path / "a").read_bytes() == NEW


def test_every_failing_call_leaves_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "files" / "a"
    atomic.make_folder(path.parent)
    calls = calls_of_a_write(path, monkeypatch)
    outcomes = []
    for number in range(calls):
        monkeypatch.setattr(atomic, "system", atomic.System())
        atomic.write_file(path, OLD)
        monkeypatch.setattr(atomic, "system", FailingSystem(fails_at=number))
        with pytest.raises(RecordError) as caught:
            atomic.write_file(path, NEW)
        assert caught.value.problems[0].code == "E801"
        outcomes.append(path.read_bytes())
        assert [entry.name for entry in path.parent.iterdir()] == ["a"]
    # Only the last call, the flush of the folder, comes after the rename.
    assert outcomes == [OLD] * (calls - 1) + [NEW]


def test_a_writer_killed_at_any_call_leaves_whole_files_and_removable_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "files" / "a"
    atomic.make_folder(path.parent)
    calls = calls_of_a_write(path, monkeypatch)
    for number in range(calls):
        monkeypatch.setattr(atomic, "system", atomic.System())
        atomic.write_file(path, OLD)
        monkeypatch.setattr(atomic, "system", FailingSystem(number, Killed()))
        with pytest.raises(Killed):
            atomic.write_file(path, NEW)
        assert path.read_bytes() in {OLD, NEW}
        beside = [entry.name for entry in path.parent.iterdir() if entry != path]
        assert all(name.startswith(".a.") and name.endswith(atomic.LEFTOVER_SUFFIX) for name in beside)
        assert len(beside) == (number < calls - 1)
        atomic.remove_leftovers(path.parent)
        assert list(path.parent.iterdir()) == [path]


def test_a_refused_write_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "a.json"
    with pytest.raises(RecordError) as caught:
        atomic.write_file(path, NEW)
    problem = caught.value.problems[0]
    assert problem.message == f"cannot write {path}: Not a directory"
    assert problem.hint == "A part of this path is a file, not a folder. Choose another folder."
    with pytest.raises(RecordError) as caught:
        atomic.make_folder(path)
    assert caught.value.problems[0].code == "E801"


def test_a_full_disk_is_told_and_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    atomic.write_file(path, OLD)
    monkeypatch.setattr(atomic, "system", FailingSystem(1))
    with pytest.raises(RecordError) as caught:
        atomic.write_file(path, NEW)
    assert str(caught.value) == f"{path}: error[E801]: cannot write {path}: {os.strerror(errno.ENOSPC)}"
    assert caught.value.problems[0].hint.startswith("The disk is full.")
    assert path.read_bytes() == OLD


def test_the_kernel_refusing_more_bytes_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    atomic.write_file(path, OLD)
    program = (
        "import resource, sys; from pathlib import Path; from recipe_runner.disk import atomic\n"
        "from recipe_runner.problems.problem import RecordError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: atomic.write_file(Path(sys.argv[1]), b'new' * 1000)\n"
        "except RecordError as error: print(error.problems[0].code)\n"
    )
    root = str(Path(atomic.__file__).parents[2])
    answer = subprocess.run(
        [sys.executable, "-c", program, str(path)], env={"PYTHONPATH": root}, capture_output=True, check=True, text=True
    )
    assert answer.stdout == "E801\n"
    assert path.read_bytes() == OLD
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "cwd"]


def test_an_unchanged_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert atomic.write_if_changed(path, OLD)
    before = path.stat()
    assert not atomic.write_if_changed(path, OLD)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert atomic.write_if_changed(path, NEW)


def test_append_cuts_off_what_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a"
    atomic.append(path, b"one\n", 0)
    atomic.append(path, b"torn", 4)
    atomic.append(path, b"two\n", 4)
    assert path.read_bytes() == b"one\ntwo\n"


def test_unreadable_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "missing"
    with pytest.raises(RecordError) as caught, atomic.reading(path):
        path.read_bytes()
    assert str(caught.value) == f"{path}: error[E802]: cannot read {path}: No such file or directory"


def test_leftovers_of_a_folder_that_is_not_there_are_none(tmp_path: Path) -> None:
    atomic.remove_leftovers(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
