"""What the system and the installation refuse, as problems: these are no bugs, and no command foresees them all."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from recipe_runner.problems.problem import Problem

_HINTS = {
    errno.ENOSPC: "The disk is full. Free some space and run again: what was finished is kept.",
    errno.EDQUOT: "The disk quota is used up. Free some space and run again: what was finished is kept.",
    errno.EMFILE: "Raise the limit of open files (`ulimit -n`).",
    errno.ENFILE: "The whole system has too many open files: close some programs.",
    errno.ENOMEM: "Free some memory, or raise the limit on it.",
    errno.EAGAIN: "Raise the limit of processes and threads (`ulimit -u`).",
    errno.EIO: "The disk or the network file system is broken: look into the system's log.",
}

# As diffusers and transformers say it of a module that they import late.
_LAZY = re.compile(r"Failed to import (\w+)")


def problem_of(error: BaseException) -> Problem | None:
    """What an exception that nobody foresaw says of the environment; None where it is a bug of this package."""
    if isinstance(error, RuntimeError) and (lazy := _LAZY.match(str(error))):
        return _not_installed(lazy[1], str(error).strip().splitlines()[-1])
    if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
        # As pathlib says it of symbolic links that lead to each other.
        error = error.__context__
    if isinstance(error, MemoryError):
        return Problem(code="E703", message="there is not enough memory", hint=_HINTS[errno.ENOMEM])
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
    return Problem(code="E904", message=message, hint=f"Install it again: `pip install --force-reinstall {name}`.")


def _refused(error: OSError) -> Problem:
    if error.errno == errno.ENOENT and not _has_working_directory():
        hint = "Change to a folder that is there, and run again."
        return Problem(code="E903", message="the working directory does not exist any more", hint=hint)
    about = "".join(f": {str(name)!r}" for name in (error.filename,) if name is not None)
    message = f"the operating system refuses: {error.strerror}{about}"
    return Problem(code="E903", message=message, hint=_HINTS.get(error.errno or 0, ""))


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True
