"""What happens on a bug of our own: a short apology, and a log that can be pasted into a report."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.problems.credentials import masked
from recipe_runner.problems.problem import Problem
from recipe_runner.report.terminal.problems import print_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = (
    "recipe-runner",
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "safetensors",
    "pydantic",
    "pyyaml",
    "jsonschema",
)


def report_bug(error: BaseException, words: Sequence[str]) -> Path:
    """Write the log of an unexpected error aside, tell where it is, and return its path."""
    lines = [
        "## recipe-runner log",
        f"command: recipe-runner {' '.join(words)}",
        f"python: {platform.python_version()} on {platform.platform()}",
        *(f"{name}: {_version(name)}" for name in PACKAGES),
        "",
        "".join(traceback.format_exception(error)),
    ]
    with tempfile.NamedTemporaryFile(
        "w", prefix="recipe-runner-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write(masked("\n".join(lines)))
    problem = Problem(
        code="E901",
        message=f"this is a bug in recipe-runner: {type(error).__name__}: {error}".splitlines()[0],
        hint=f"please report it, with the log in {file.name}",
    )
    print_problems([problem], file=sys.stderr)
    return Path(file.name)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
