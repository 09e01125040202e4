"""Killed for real at random moments: nothing half-written is taken for whole, and the end is the same."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from support.records import PLAN, run_folder

from recipe_runner.record import folder as folder_module
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.store import Found

IMAGES = 60
WRITER = """
import hashlib, sys
from pathlib import Path
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.store import Found
from support.records import journal_entry, stored_image

run = RunFolder(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
print("ready", flush=True)
with run.locked(wait=True):
    finished = {entry.path: entry for entry in run.journal.read()}
    for number in range(int(sys.argv[4])):
        name = f"bears-{number}.png"
        data = name.encode() * (1 + number * 997 % 5000)
        entry = finished.get(f"images/{name}")
        if entry is not None and run.image_fault(entry.path, entry.file_sha256) is None:
            continue
        if not isinstance(run.store.get(stored_image(name, data).node_key), Found):
            run.store.put(stored_image(name, data), data)
        run.write_image(name, data)
        run.journal.append([journal_entry(name, data)])
    run.write("manifest.json", b"complete\\n")
print("done", flush=True)
"""


def start(run: RunFolder) -> subprocess.Popen[str]:
    tests, root = Path(__file__).parents[1], Path(folder_module.__file__).parents[2]
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(run.runs), run.name, run.plan_digest, str(IMAGES)],
        env={"PYTHONPATH": f"{root}:{tests}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def everything(run: RunFolder) -> dict[str, bytes]:
    """Every file below the runs, but for the locks."""
    files = sorted(path for path in run.runs.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(run.runs).as_posix(): path.read_bytes() for path in files}


def test_a_run_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    expected = RunFolder(tmp_path / "uninterrupted", "cereal-or-film", PLAN)
    assert start(expected).communicate()[0] == "done\n"
    run = run_folder(tmp_path)
    moments = random.Random(20_261_122)
    for _ in range(20):
        writer = start(run)
        # The moment decides only where the kill strikes: what is asserted holds wherever it does.
        time.sleep(moments.uniform(0, 0.03))
        writer.kill()
        writer.communicate()
        for entry in run.journal.read():
            assert run.image_fault(entry.path, entry.file_sha256) is None
            assert isinstance(run.store.get(entry.node_key), Found)
    assert start(run).communicate()[0] == "done\n"
    assert everything(run) == everything(expected)


def test_two_writers_at_once_end_with_the_same_bytes(tmp_path: Path) -> None:
    expected = RunFolder(tmp_path / "alone", "cereal-or-film", PLAN)
    assert start(expected).communicate()[0] == "done\n"
    run = run_folder(tmp_path)
    other = RunFolder(run.runs, "another-recipe", PLAN)
    writers = [start(run), start(run), start(other)]
    assert [writer.communicate()[0] for writer in writers] == ["done\n"] * 3
    found = {path: data for path, data in everything(run).items() if not path.startswith("another-recipe/")}
    assert found == everything(expected)
