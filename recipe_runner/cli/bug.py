"""What happens on a bug of this package: a short message, and a log that can be pasted into a bug report."""

from __future__ import annotations

import platform
import tempfile
import traceback
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from recipe_runner.problems.credentials import masked
from recipe_runner.problems.problem import Problem

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


def report_bug(error: BaseException, words: Sequence[str]) -> Problem:
    """Write the log of an unexpected error to a temporary file; the problem names the file."""
    lines = [
        "## recipe-runner log",
        f"command: recipe-runner {' '.join(words)}",
        f"python: {platform.python_version()} on {platform.platform()}",
        *(f"{name}: {_version(name)}" for name in PACKAGES),
        "",
        "".join(traceback.format_exception(error)),
    ]
    hint = "please report it; the log could not be written: run again with --debug to see the traceback"
    with suppress(OSError):
        with tempfile.NamedTemporaryFile(
            "w", prefix="recipe-runner-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(masked("\n".join(lines)))
        hint = f"please report it, with the log in {file.name}"
    message = f"this is a bug in recipe-runner: {type(error).__name__}: {error}".splitlines()[0]
    return Problem(code="E901", message=message, hint=hint)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
