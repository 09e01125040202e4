"""Change documents of every kind, and give each to a command that reads it: none may be brought down, or led outside.

.venv/bin/python tests/benchmarks/fuzz.py --documents 100000 --seed 1
.venv/bin/python tests/benchmarks/fuzz.py --documents 5000 --kind lock
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

MEMORY = 4 * 2**30
ENOUGH = 100


def main() -> int:
    """Try them, print what was found with the documents that did it, and return 1 where there was something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000, help="how many (default: 100000)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn (default: 1)")
    parser.add_argument("--kind", default="", help="only kinds with this in their names")
    wanted = parser.parse_args()
    # What fills the memory ends with an error of its own, and not with this machine.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(
            RECIPE_RUNNER_CACHE=str(folder / "cache"), HF_HOME=str(folder / "hub"), HF_HUB_OFFLINE="1", HOME=str(folder)
        )
        # Imported once the caches lie aside.
        from support.fuzz import Fuzz, told

        fuzz, began, reasons = Fuzz(folder), time.monotonic(), set()
        for finding in fuzz.run(wanted.documents, wanted.seed, only=wanted.kind):
            # One document for each way to fail is enough to read.
            if (finding.kind, finding.reason[-200:]) not in reasons:
                print(told([finding]), end="\n\n", flush=True)
            reasons.add((finding.kind, finding.reason[-200:]))
        seconds = time.monotonic() - began
        for kind, counts in fuzz.outcomes.items():
            print(f"{kind}: {', '.join(f'{count} {outcome}' for outcome, count in sorted(counts.items()))}")
            # A kind that is always refused is not read to its end.
            if counts.total() >= ENOUGH and not counts["accepted"]:
                reasons.add((kind, "it was always refused"))
        if "torch" in sys.modules:
            reasons.add(("all", "torch was imported"))
        print(f"{wanted.documents} documents in {seconds:.0f} s: {len(reasons)} ways to fail")
        os.chdir("/")
    return bool(reasons)


if __name__ == "__main__":
    sys.exit(main())
