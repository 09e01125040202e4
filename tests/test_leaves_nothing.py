"""What tests write outside their own folders is gone once they have run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ROOT

TEST = """\
import subprocess, sys, tempfile
from pathlib import Path

def test_one(tmp_path):
    Path(tempfile.mkdtemp(), "left.txt").write_text("by a test")
    subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkstemp()"], check=True)
    Path("~/in-the-home-folder").expanduser().write_text("by a test")

def test_two(tmp_path_factory):
    (tmp_path_factory.mktemp("more") / "file").touch()
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_the_temporary_folder_is_as_it_was(workers: list[str], tmp_path: Path) -> None:
    suite, temporary, home = tmp_path / "suite", tmp_path / "temporary", tmp_path / "home"
    for folder in (suite, temporary, home):
        folder.mkdir()
    shutil.copy(ROOT / "tests/conftest.py", suite)
    (suite / "test_one.py").write_text(TEST)
    options = ["-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(suite), *workers]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(suite)],
        env={**kept, "TMPDIR": str(temporary), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
    # pytest keeps an empty folder for each person.
    assert not [path for path in temporary.rglob("*") if path.is_file()]
    assert {path.name.split("-")[0] for path in temporary.iterdir()} <= {"pytest"}
    assert not list(home.iterdir())
