"""Progress: plain lines for logs, a bar on a real terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

from support.command import ROOT

from recipe_runner.report.terminal import progress

if TYPE_CHECKING:
    import pytest


def test_plain_lines_tell_images_steps_and_what_was_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("recipe_runner.report.terminal.progress.time.monotonic", lambda: clock[0])
    shown = progress.make_progress(10)
    with shown:
        shown.begin(4)
        for second, step in ((1, 1), (6, 2), (7, 3)):
            clock[0] = second
            shown.step(step, 3)
        for second in (8, 9, 14, 70, 75, 76):
            clock[0] = second
            shown.image(f"images/{second}.png")
    assert capsys.readouterr().err.splitlines() == [
        "4 of 10 images are made already",
        "image 5 of 10: step 2 of 3",
        "image 7 of 10: images/14.png, about 9 s left",
        "image 8 of 10: images/70.png, about 41 s left",
        "image 9 of 10: images/75.png, about 17 s left",
        "image 10 of 10: images/76.png",
    ]


def test_quiet_says_nothing_and_verbose_tells_every_image(capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (progress.make_progress(2, quiet=True), progress.make_progress(2, verbose=True)):
        with shown:
            shown.begin(0)
            shown.image("images/a.png")
            shown.image("images/b.png")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["image 1 of 2: images/a.png", "image 2 of 2: images/b.png"]


def test_a_terminal_gets_a_bar() -> None:
    code = (
        "from recipe_runner.report.terminal.progress import make_progress, Bar\n"
        "shown = make_progress(2)\n"
        "assert isinstance(shown, Bar)\n"
        "with shown:\n"
        "    shown.begin(0); shown.step(7, 15); shown.say('[bold] is no markup'); shown._bar.refresh()\n"
        "    shown.image('images/a.png'); shown._bar.refresh()\n"
    )
    controller, terminal = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            check=True,
        )
        told = os.read(controller, 65536).decode()
    finally:
        os.close(controller)
        os.close(terminal)
    assert "step 7/15" in told
    assert "1/2" in told
    assert "[bold] is no markup" in told
