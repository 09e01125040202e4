"""The command line as people meet it: whole processes, and the same door called in this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.main import main

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    """What a command left."""

    status: int
    out: str
    err: str


def start(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Begin a process of the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "recipe_runner", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore SIGINT, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )


def process(*words: str, cwd: Path | None = None, **environment: str) -> Answer:
    """Run a process of the command line to its end."""
    running = start(*words, cwd=cwd, **environment)
    out, err = running.communicate(timeout=300)
    return Answer(running.returncode, out, err)


def call(capsys: pytest.CaptureFixture[str], *words: str) -> Answer:
    """Run the command line in this process."""
    capsys.readouterr()
    status = main(words)
    out, err = capsys.readouterr()
    return Answer(status, out, err)
