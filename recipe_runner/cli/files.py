"""Files that commands write to a path of the user's choice."""

from __future__ import annotations

from pathlib import Path

from recipe_runner.problems.problem import Problem, RecordError


def write_new(path: Path, text: str, *, force: bool, make_folder: bool = False) -> None:
    """Write `text` to `path`; overwrite an existing file only with `force`.

    Raises:
        RecordError: E902 the file exists, E801 it cannot be written.
    """
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        problem = Problem(
            code="E902", message=f"{path} exists", hint="choose another name, or use --force to overwrite it"
        )
        raise RecordError(problem) from error
    except OSError as error:
        raise RecordError(Problem(code="E801", message=f"{path} cannot be written: {error.strerror}")) from error
