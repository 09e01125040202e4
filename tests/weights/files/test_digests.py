"""File digests: right, remembered, and forgotten whenever the file may be another."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.safetensors_bytes import whole

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files import digests
from recipe_runner.weights.files.digests import SMALL_FILE_BYTES, autov3, cache_folder, file_sha256

LARGE = SMALL_FILE_BYTES + 1


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPE_RUNNER_CACHE", str(tmp_path / "cache"))


def old_file(path: Path, content: bytes) -> Path:
    """A file that looks as if it was written a minute ago (its change time cannot be set, so the clock is moved)."""
    path.write_bytes(content)
    past = time.time() - 60
    os.utime(path, (past, past))
    return path


@pytest.fixture
def _later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute later than the files were written."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60 * 10**9)


def records() -> list[Path]:
    return sorted((cache_folder() / "digests").glob("*.json"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [0, 1, SMALL_FILE_BYTES, LARGE, digests.BLOCK_BYTES * 2 + 7])
def test_digest_is_sha256_of_the_bytes(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    path = tmp_path / "f"
    path.write_bytes(content)
    seen: list[tuple[int, int]] = []
    assert file_sha256(path, lambda done, whole: seen.append((done, whole))) == sha256(content)
    assert not size or seen[-1] == (size, size)


@pytest.mark.usefixtures("_later")
def test_a_large_file_is_read_once(tmp_path: Path) -> None:
    path = old_file(tmp_path / "f", bytes(LARGE))
    first = file_sha256(path)
    assert len(records()) == 1

    def never(_done: int, _whole: int) -> None:
        pytest.fail("the file was read again")

    assert file_sha256(path, never) == first


def test_a_file_of_just_now_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(LARGE))
    file_sha256(path)
    assert records() == []


@pytest.mark.usefixtures("_later")
def test_small_files_leave_no_record(tmp_path: Path) -> None:
    file_sha256(old_file(tmp_path / "f", b"small"))
    assert records() == []


@pytest.mark.usefixtures("_later")
def test_overwritten_in_place_with_the_same_size_and_time_is_another_file(tmp_path: Path) -> None:
    path = old_file(tmp_path / "f", bytes(LARGE))
    before = path.stat()
    file_sha256(path)
    changed = b"\x01" * LARGE
    path.write_bytes(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert file_sha256(path) == sha256(changed)


@pytest.mark.usefixtures("_later")
@pytest.mark.parametrize(
    "spoilt",
    [b"", b"{", b"[]", b"null", b'{"identity": 1}', b"\xff\xfe", pytest.param(b"[" * 100_000, id="nested"), None],
)
def test_a_spoilt_record_costs_a_hash_and_no_more(spoilt: bytes | None, tmp_path: Path) -> None:
    path = old_file(tmp_path / "f", bytes(LARGE))
    right = file_sha256(path)
    (record,) = records()
    if spoilt is None:
        tree = json.loads(record.read_bytes())
        record.write_text(json.dumps(tree | {"digest": "z" * 64}))
    else:
        record.write_bytes(spoilt)
    assert file_sha256(path) == right
    assert json.loads(record.read_bytes())["digest"] == right


@pytest.mark.usefixtures("_later")
def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blocked").write_bytes(b"")
    monkeypatch.setenv("RECIPE_RUNNER_CACHE", str(tmp_path / "blocked"))
    assert file_sha256(old_file(tmp_path / "f", bytes(LARGE))) == sha256(bytes(LARGE))


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(LARGE))
    changes = iter([True])

    def change(_done: int, _whole: int) -> None:
        if next(changes, False):
            path.write_bytes(b"\x02" * (LARGE + 1))

    assert file_sha256(path, change) == sha256(b"\x02" * (LARGE + 1))


def test_a_file_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(LARGE))
    changes = iter([True])

    def replace(_done: int, _whole: int) -> None:
        if next(changes, False):
            (tmp_path / "new").write_bytes(b"\x03" * LARGE)
            (tmp_path / "new").replace(path)

    assert file_sha256(path, replace) == sha256(b"\x03" * LARGE)


def test_a_file_that_never_rests_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(LARGE))

    def grow(_done: int, _whole: int) -> None:
        with path.open("ab") as file:
            file.write(b"x")

    with pytest.raises(WeightsError, match="the file changes while it is read") as caught:
        file_sha256(path, grow)
    assert caught.value.problems[0].code == "E414"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="file not found"):
        file_sha256(tmp_path / "nothing")


def test_autov3_leaves_out_the_header(tmp_path: Path) -> None:
    shapes = {"a": (3, 5)}
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    one.write_bytes(whole(shapes))
    two.write_bytes(whole(shapes, metadata={"ss_output_name": "renamed"}))
    assert file_sha256(one) != file_sha256(two)
    assert autov3(one) == autov3(two) == sha256(bytes(30))


def test_many_processes_at_once_agree(tmp_path: Path) -> None:
    path = old_file(tmp_path / "f", os.urandom(LARGE))
    program = (
        "import sys, time; from pathlib import Path; from recipe_runner.weights.files import digests;"
        "now = time.time_ns; digests.time.time_ns = lambda: now() + 60 * 10**9;"
        "print(*{digests.file_sha256(Path(sys.argv[1])) for _ in range(20)})"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(digests.__file__).parents[3])},
        )
        for _ in range(4)
    ]
    assert {process.communicate()[0].strip() for process in started} == {sha256(path.read_bytes())}
    assert len(records()) == 1
    assert list((cache_folder() / "digests").glob("*.tmp")) == []
