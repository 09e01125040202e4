"""A folder in which a process may not write, whether the tests run as root or as a user."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.command import ROOT, Answer

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1


@contextmanager
def read_only(root: Path) -> Iterator[None]:
    """Nothing below `root` may be changed in the block, by `process_without_rights`."""
    paths = [path for path in (root, *root.rglob("*")) if not path.is_symlink()]
    modes = {path: path.stat().st_mode for path in paths}
    try:
        for path in reversed(paths):
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield
    finally:
        for path in paths:
            path.chmod(modes[path])


def process_without_rights(*words: str) -> Answer:
    """The command line in a process that permissions bind; for root they do not."""
    command = [sys.executable, *(("-m", "recipe_runner") if words[0] != "-c" else ()), *words]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_give_up_override if os.geteuid() == 0 else None,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def _give_up_override() -> None:
    # The program that is executed next has what is left.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot give up the right to write anywhere")
