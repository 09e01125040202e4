"""A part of `benchmarks/faults.py` each time: no refusal of the system is called a bug, and JSON stays one object."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.command import ROOT

SAMPLES = {"validate": 12, "plan": 12, "run": 8, "again": 6, "verify": 8, "report": 8, "import": 6}


@pytest.mark.parametrize("scenario", SAMPLES)
def test_no_refusal_of_the_system_is_a_bug(scenario: str) -> None:
    # Another part each time: what one finds, the message has with its seed.
    seed = int.from_bytes(os.urandom(2))
    script = ROOT / "tests" / "benchmarks" / "faults.py"
    words = [sys.executable, str(script), scenario, "--sample", str(SAMPLES[scenario]), "--seed", str(seed)]
    answer = subprocess.run(words, check=False, capture_output=True, text=True, timeout=600)
    assert answer.returncode == 0, (seed, answer.stdout, answer.stderr)
    assert json.loads(answer.stdout)["tried"] == SAMPLES[scenario]
