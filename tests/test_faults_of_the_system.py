"""A part of `benchmarks/faults.py` each time: no refusal of the system is called a bug, and JSON stays one object."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from support.command import ROOT

SAMPLES = {"validate": 12, "plan": 12, "run": 8, "again": 6, "verify": 8, "report": 8, "import": 6}


@pytest.mark.parametrize("scenario", SAMPLES)
def test_no_refusal_of_the_system_is_a_bug(scenario: str) -> None:
    # Another part for each state of the package, and the same one for the same state.
    digest = hashlib.sha256()
    for path in sorted((ROOT / "recipe_runner").rglob("*.py")):
        digest.update(path.read_bytes())
    seed = int.from_bytes(digest.digest()[:2])
    script = ROOT / "tests" / "benchmarks" / "faults.py"
    words = [sys.executable, str(script), scenario, "--sample", str(SAMPLES[scenario]), "--seed", str(seed)]
    answer = subprocess.run(words, check=False, capture_output=True, text=True, timeout=600)
    assert answer.returncode == 0, (seed, answer.stdout, answer.stderr)
    assert json.loads(answer.stdout)["tried"] == SAMPLES[scenario]
