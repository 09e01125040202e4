"""Failures of the operating system or the installation, as problems: they are not bugs of this package."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from recipe_runner.problems.problem import Problem

_HINTS = {
    errno.ENOSPC: "The disk is full. Free some space and run again: finished work is kept.",
    errno.EDQUOT: "The disk quota is used up. Free some space and run again: finished work is kept.",
    errno.EMFILE: "Raise the limit on open files (`ulimit -n`).",
    errno.ENFILE: "The system has too many open files: close some programs.",
    errno.ENOMEM: "Free some memory, or raise the memory limit.",
    errno.EAGAIN: "Raise the limit on processes and threads (`ulimit -u`).",
    errno.EIO: "The disk or the network file system is failing: check the system log.",
}

# The message of diffusers and transformers when a module that they import lazily fails.
_LAZY = re.compile(r"Failed to import (\w+)")


def problem_of(error: BaseException) -> Problem | None:
    """The problem that an unexpected exception reports; None if it is a bug of this package."""
    if isinstance(error, RuntimeError) and (lazy := _LAZY.match(str(error))):
        return _not_installed(lazy[1], str(error).strip().splitlines()[-1])
    if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
        # pathlib raises this for symbolic links that point to each other.
        error = error.__context__
    if isinstance(error, MemoryError):
        return Problem(code="E703", message="not enough memory", hint=_HINTS[errno.ENOMEM])
    if isinstance(error, ImportError):
        return _not_loaded(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _refused(error)
    return None


def _not_loaded(error: ImportError) -> Problem | None:
    name = (error.name or "").partition(".")[0]
    if not name or name == "recipe_runner":
        return None
    return _not_installed(name, error.msg)


def _not_installed(name: str, reason: str) -> Problem:
    message = f"{name} cannot be loaded: {reason}"
    return Problem(code="E904", message=message, hint=f"Reinstall it: `pip install --force-reinstall {name}`.")


def _refused(error: OSError) -> Problem:
    if error.errno == errno.ENOENT and not _has_working_directory():
        hint = "Change to an existing folder and run again."
        return Problem(code="E903", message="the working directory no longer exists", hint=hint)
    message = f"operating system error: {error.strerror}"
    if error.filename is not None:
        message += f": {str(error.filename)!r}"
    return Problem(code="E903", message=message, hint=_HINTS.get(error.errno or 0, ""))


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True
