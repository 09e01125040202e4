"""Shared by the benchmarks: whole processes and blocks, timed in interleaved rounds, the best round counted.

Machines are noisy; a ratio of two best rounds taken in turns is what can be compared. Figures are printed, never
asserted.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def process_seconds(arguments: Sequence[str]) -> float:
    """Wall seconds of one Python process with these arguments, run in the checkout."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def processor_seconds(arguments: Sequence[str]) -> float:
    """Processor seconds, user and system, of one Python process with these arguments, run in the checkout.

    On a machine that is shared with other work this is what a process takes; wall time is what the others left it.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def best(rounds: int, **blocks: Callable[[], object]) -> dict[str, float]:
    """The least seconds of each block over `rounds` rounds, the blocks taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(rounds):
        for name, block in blocks.items():
            start = time.perf_counter()
            block()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in seconds.items()}
