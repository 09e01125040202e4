"""The run folder: its names stay inside, and one process at a time writes in it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.records import PLAN, journal_entry, run_folder, sha256

from recipe_runner.problems.problem import RecordError
from recipe_runner.record import folder as folder_module
from recipe_runner.record.folder import RunFolder

HOLDER = """
import sys
from pathlib import Path
from recipe_runner.record.folder import RunFolder
with RunFolder(Path(sys.argv[1]), sys.argv[2], sys.argv[3]).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(run: RunFolder) -> subprocess.Popen[str]:
    """Another process that holds the run's lock until its standard input is closed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.runs), run.name, run.plan_digest],
        env={"PYTHONPATH": str(Path(folder_module.__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder: subprocess.Popen[str]) -> None:
    holder.communicate("")
    assert holder.returncode == 0


def test_the_folder_is_named_after_recipe_and_plan(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    assert run.path == tmp_path / "runs" / "cereal-or-film" / PLAN[:12]
    assert not run.runs.exists()
    with run.locked():
        digest = run.write_image("bears-33.png", b"picture")
        assert run.write("manifest.json", b"{}\n")
        assert not run.write("manifest.json", b"{}\n")
        run.journal.append([journal_entry("bears-33.png", b"picture")])
    assert digest == hashlib.sha256(b"picture").hexdigest()
    assert sorted(path.relative_to(run.path).as_posix() for path in run.path.rglob("*")) == [
        ".lock",
        "images",
        "images/bears-33.png",
        "journal.jsonl",
        "manifest.json",
    ]
    assert run.store.root == run.runs / "store"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a b", "a\n", "x" * 101])
def test_a_run_cannot_be_named_out_of_its_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordError) as caught:
        RunFolder(tmp_path, name, PLAN)
    assert caught.value.problems[0].code == "E805"
    assert caught.value.problems[0].message == f"{name!r} is not a run's name"


def test_a_run_cannot_lie_in_the_store(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        RunFolder(tmp_path, "store", PLAN)
    assert caught.value.problems[0].message == "'store' is not a run's name"
    assert caught.value.problems[0].hint == "That folder holds the images that runs share. Rename the recipe."


@pytest.mark.parametrize("name", ["", "..", "../x.png", "a/b.png", "/x.png", ".x.png", "a\0.png", "a.png\n", "ä.png"])
def test_a_file_cannot_be_named_out_of_the_folder(tmp_path: Path, name: str) -> None:
    run = run_folder(tmp_path)
    with run.locked():
        for write in (run.write, run.write_image):
            with pytest.raises(RecordError) as caught:
                write(name, b"x")
            assert caught.value.problems[0].message == f"{name!r} is not a file name"
        assert list((run.path / "images").iterdir()) == []


def test_a_plan_digest_is_checked(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="BUG"):
        RunFolder(tmp_path, "a", "../../../etc")


def test_faults_of_images_are_told(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    with run.locked():
        digest = run.write_image("a.png", b"picture", durable=False)
    assert run.image_fault("images/a.png", digest) is None
    assert run.image_fault("images/a.png", sha256("other")) == "the image was changed (sha256 differs)"
    assert run.image_fault("images/b.png", digest) == "the image is missing"
    for path in ("a.png", "images/../a.png", "../images/a.png", "/images/a.png", "images/"):
        assert run.image_fault(path, digest) == "its path is not an image of this folder"
    (run.path / "images" / "c.png").mkdir()
    assert run.image_fault("images/c.png", digest) == "the image cannot be read (Is a directory)"


def test_leftovers_of_killed_writers_are_deleted(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    with run.locked():
        pass
    for leftover in (run.path / ".manifest.json.0a.part", run.path / "images" / ".a.png.0a.part"):
        leftover.write_bytes(b"half")
    (run.path / "images" / "mine.part").write_bytes(b"somebody's own file")
    with run.locked():
        assert [path.name for path in run.path.rglob("*.part")] == ["mine.part"]


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    holder = hold(run)
    with pytest.raises(RecordError) as caught, run.locked():
        pytest.fail("two processes hold one lock")
    problem = caught.value.problems[0]
    assert str(problem) == (
        f"{run.path}: error[E803]: another process (pid {holder.pid}) is already working in {run.path}"
    )
    assert problem.hint == "Wait until it has ended, or run with --wait."
    other = RunFolder(run.runs, run.name, sha256("another plan"))
    with other.locked():
        pass
    end(holder)
    with run.locked():
        pass


def test_a_second_process_waits_when_asked_to(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    holder = hold(run)
    said: list[str] = []
    waiting, done = threading.Event(), threading.Event()

    def say(text: str) -> None:
        said.append(text)
        waiting.set()

    def work() -> None:
        with run.locked(wait=True, on_wait=say):
            done.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert waiting.wait(60)
    assert not done.is_set()
    end(holder)
    thread.join(60)
    assert done.is_set()
    assert said == [f"another process (pid {holder.pid}) is working in {run.path}: waiting for it to end"]


def test_a_killed_holder_holds_nobody_up(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    holder = hold(run)
    holder.kill()
    holder.communicate()
    with run.locked():
        assert (run.path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"a file")
    with pytest.raises(RecordError) as caught, run_folder(tmp_path).locked():
        pytest.fail("there is no such folder")
    assert caught.value.problems[0].code == "E801"
