"""Make every system call of the command line fail, one at a time, with every error that it can give.

    python tests/benchmarks/faults.py                      all of it: some minutes for each scenario
    python tests/benchmarks/faults.py plan --sample 40     forty calls of one scenario, drawn by --seed

A call is one of Python's to the system, by this package or by a library. Each fails in a process of its own, forked
from one that has imported everything. What is looked for: status 4, an exception that leaves `main`, and with `--format
json` anything but one object on the standard output. The script prints what it found as JSON, and leaves with 1 if
there is anything.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import fcntl
import io
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RECIPE = """\
recipe: 1
name: faults
base: {model: demo/model, scheduler: {class: DDIMScheduler}}
adapters:
  outline: {kind: lora, model: demo/lora/outline.safetensors, scale: 0.5}
  teal: {kind: textual_inversion, model: demo/embeddings/teal.safetensors, token: <teal>}
prompts: [{prompt: a red star <teal>}]
seeds: [1]
sampling: {num_inference_steps: 1}
runtime: {device: cpu, threads: 1}
"""
SCENARIOS: dict[str, list[str]] = {
    "validate": ["validate", "--weights", "r.yaml", "--format", "json"],
    "plan": ["plan", "r.yaml", "--format", "json"],
    "lock": ["lock", "copy.yaml", "--format", "json"],
    "diff": ["diff", "r.yaml", "copy.yaml", "--format", "json"],
    "inspect": ["inspect", "demo/lora/outline.safetensors", "demo/model", "--format", "json"],
    "export": ["export", "r.yaml", "--to", "python", "--format", "json"],
    "run": ["run", "r.yaml", "--format", "json", "--quiet"],
    "again": ["run", "r.yaml", "--format", "json", "--quiet", "--runs", "made"],
    "verify": ["verify", "RUN", "--inputs", "--format", "json"],
    "report": ["report", "RUN", "--format", "json", "--output", "page.html"],
    "show": ["runs", "show", "RUN", "--format", "json"],
    "list": ["runs", "list", "--runs", "made", "--format", "json"],
    "gc": ["gc", "--runs", "made", "--format", "json"],
    "import": ["import", "IMAGE", "--format", "json"],
}
_ANY = (errno.EIO, errno.ENOMEM, errno.EACCES)
_PATH = (*_ANY, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
_CHANGE = (*_PATH, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EPERM)
_WRITE = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ERRORS: dict[str, tuple[int, ...]] = {
    "stat": _PATH, "lstat": _PATH, "fstat": _ANY, "access": (), "getcwd": (errno.ENOENT, errno.EACCES),
    "open": (*_PATH, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EROFS, errno.EISDIR),
    "listdir": (*_PATH, errno.EMFILE), "scandir": (*_PATH, errno.EMFILE), "readlink": (*_PATH, errno.EINVAL),
    "read": (errno.EIO, errno.ENOMEM, errno.ESTALE, errno.EISDIR), "pread": (errno.EIO, errno.ESTALE),
    "write": _WRITE, "pwrite": _WRITE, "fsync": (*_WRITE, errno.EROFS, errno.EINVAL),
    "close": (errno.EIO, errno.ENOSPC),
    "ftruncate": _WRITE, "truncate": _CHANGE, "lseek": (errno.EIO, errno.ESPIPE), "utime": _CHANGE, "chmod": _CHANGE,
    "mkdir": (*_CHANGE, errno.EMLINK), "rmdir": _CHANGE, "unlink": _CHANGE, "remove": _CHANGE,
    "rename": (*_CHANGE, errno.EXDEV, errno.ENOTEMPTY), "replace": (*_CHANGE, errno.EXDEV), "link": _CHANGE,
    "symlink": _CHANGE, "flock": (errno.ENOLCK, errno.EWOULDBLOCK, errno.EIO), "statvfs": _PATH,
}  # fmt: skip
"""The system's functions, and what each can answer."""


class Faults:
    """Counts the calls, and makes one of them fail."""

    def __init__(self) -> None:
        """Let every call be."""
        self.calls: list[str] = []
        self.fails: tuple[int, int] | None = None
        self.counts = False

    def happens(self, name: str) -> None:
        """A call; raises when it is the one."""
        if not self.counts or not ERRORS[name]:
            return
        number = len(self.calls)
        self.calls.append(name)
        if self.fails is not None and self.fails[0] == number:
            code = self.fails[1]
            raise OSError(code, os.strerror(code))


FAULTS = Faults()
_OPEN = io.open


class Raw(io.FileIO):
    """A file whose reads and writes are calls that can fail."""

    def __init__(self, file: Any, *arguments: Any, **options: Any) -> None:
        FAULTS.happens("open")
        super().__init__(file, *arguments, **options)

    def readinto(self, buffer: Any) -> int | None:
        FAULTS.happens("read")
        return super().readinto(buffer)

    def readall(self) -> bytes:
        FAULTS.happens("read")
        return super().readall()

    def read(self, size: int | None = -1) -> bytes | None:  # type: ignore[override]
        FAULTS.happens("read")
        return super().read(-1 if size is None else size)

    def write(self, data: Any) -> int:
        FAULTS.happens("write")
        return super().write(data) or 0


def faulty_open(
    file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
    closefd: Any = True, opener: Any = None,  # noqa: FBT002 - as the function that it stands for
) -> Any:  # fmt: skip
    """`open`, with files whose calls can fail."""
    raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
    if buffering == 0:
        return raw
    buffer: Any
    if "+" in mode:
        buffer = io.BufferedRandom(raw)
    else:
        buffer = io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
    return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline, buffering == 1)


def install() -> None:
    """Put the functions that can fail in the place of the system's."""
    for name in ERRORS:
        holder: Any = fcntl if name == "flock" else os
        setattr(holder, name, _faulty(name, getattr(holder, name)))
    io.open = builtins.open = faulty_open


def _faulty(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if name == "close":
            # The descriptor is free whatever close answers.
            function(*arguments, **options)
            return FAULTS.happens(name)
        FAULTS.happens(name)
        return function(*arguments, **options)

    return call


@contextmanager
def counted(fails: tuple[int, int] | None) -> Iterator[None]:
    FAULTS.calls, FAULTS.fails, FAULTS.counts = [], fails, True
    try:
        yield
    finally:
        FAULTS.counts = False


def answer(words: Sequence[str], fails: tuple[int, int] | None) -> tuple[int, str, str]:
    """The status of a command, what it wrote, and the traceback of what left it."""
    from recipe_runner.cli.main import main

    out, left = io.StringIO(), ""
    sys.stdout, sys.stderr = out, io.StringIO()
    try:
        with counted(fails):
            status = main(words)
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    except BaseException:  # noqa: BLE001 - whatever it is, it is what is looked for
        status, left = -1, traceback.format_exc()
    finally:
        written = sys.stderr.getvalue()
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    return status, out.getvalue(), left or written


def fault_of(status: int, out: str, err: str) -> str | None:
    """What is wrong with an answer."""
    if status not in (0, 1, 2, 3):
        return f"status {status}: {err[-1500:]}{out[-1500:]}"
    try:
        if not isinstance(json.loads(out), dict):
            return f"no object: {out[:300]}"
    except ValueError:
        return f"no JSON, status {status}: {out[:300]!r} {err[-600:]}"
    return None


def in_a_child(words: Sequence[str], fails: tuple[int, int], folder: Path) -> str | None:
    """What a forked process finds when a call fails."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.environ["RECIPE_RUNNER_CACHE"] = str(folder / "cache")
        found = fault_of(*answer(words, fails))
        os.write(theirs, (found or "").encode("utf-8", "replace")[:4000])
        os._exit(0)
    os.close(theirs)
    with _OPEN(ours, "rb") as pipe:
        found = pipe.read().decode("utf-8", "replace")
    _, how = os.waitpid(child, 0)
    return found or (f"the process ended with {how}" if how else None)


def examine(scenario: str, place: Path, sample: int | None, chance: random.Random) -> tuple[int, list[dict[str, Any]]]:
    """How many faults of a scenario were tried, and what was found."""
    run = next((place / "made" / "faults").iterdir())
    (image,) = (run / "images").iterdir()
    words = [word.replace("IMAGE", str(image)).replace("RUN", str(run)) for word in SCENARIOS[scenario]]
    if scenario == "run":
        words += ["--runs", "FRESH"]
    fresh = place / "fresh"
    # Once with everything imported is what counts: the first call does that.
    for _ in range(2):
        shutil.rmtree(fresh, ignore_errors=True)
        os.environ["RECIPE_RUNNER_CACHE"] = str(fresh / "cache")
        status, out, err = answer([word.replace("FRESH", str(fresh / "runs")) for word in words], None)
        assert fault_of(status, out, err) is None, (status, out, err)
        assert status in (0, 1), (status, out, err)
    faults = [(number, code) for number, name in enumerate(FAULTS.calls) for code in ERRORS[name]]
    names = list(FAULTS.calls)
    if sample is not None:
        faults = chance.sample(faults, min(sample, len(faults)))
    found = []
    for number, code in faults:
        shutil.rmtree(fresh, ignore_errors=True)
        (place / "copy.lock.yaml").unlink(missing_ok=True)
        what = in_a_child([word.replace("FRESH", str(fresh / "runs")) for word in words], (number, code), fresh)
        if what is not None:
            at = {"scenario": scenario, "call": number, "of": len(names), "name": names[number]}
            found.append({**at, "error": errno.errorcode[code], "found": what})
            print(found[-1], file=sys.stderr, flush=True)
    return len(faults), found


def main() -> int:
    """Try the faults that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    parser.add_argument("--sample", type=int, help="so many faults of each scenario")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    tried, found = 0, list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="recipe-runner-faults-") as folder:
        place = Path(folder)
        (place / "demo").symlink_to(ROOT / "recipes" / "demo")
        for name in ("r.yaml", "copy.yaml"):
            (place / name).write_text(RECIPE)
        os.chdir(place)
        install()
        status, out, err = answer(["run", "r.yaml", "--runs", "made", "--quiet"], None)
        assert status == 0, (out, err)
        for scenario in arguments.scenarios or SCENARIOS:
            count, more = examine(scenario, place, arguments.sample, random.Random(arguments.seed))
            tried, found = tried + count, found + more
            print(f"{scenario}: {count} faults, {len(more)} found", file=sys.stderr, flush=True)
    print(json.dumps({"tried": tried, "found": found}, indent=2))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
