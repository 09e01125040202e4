"""The run folder `runs/<name>/<first 12 of the plan digest>/`, its files and its lock."""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from recipe_runner.disk.atomic import make_folder, remove_leftovers, write_file, write_if_changed
from recipe_runner.disk.inside import inside
from recipe_runner.disk.lock import hold_lock
from recipe_runner.problems.problem import Problem, RecordError
from recipe_runner.record.journal import Journal
from recipe_runner.record.names import IMAGES, JOURNAL, STORE
from recipe_runner.record.sharing import note_sharing
from recipe_runner.record.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DIGEST_LENGTH = 12

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one plan below `runs`; the constructor does not create it.

    Raises:
        RecordError: E805, `name` cannot be the name of a run (it could lead out of `runs`, or into the store).
    """

    runs: Path
    name: str
    plan_digest: str

    def __post_init__(self) -> None:
        """Refuse names that could lead out of the folder."""
        if self.name == STORE:
            raise _refused(
                self.name, "a run's name", "That folder holds the images that runs share. Rename the recipe."
            )
        if not _NAME.fullmatch(self.name):
            raise _refused(self.name, "a run's name")
        if not _DIGEST.fullmatch(self.plan_digest):
            raise AssertionError(f"BUG: not a digest: {self.plan_digest!r}")

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.runs / self.name / self.plan_digest[:DIGEST_LENGTH]

    @cached_property
    def store(self) -> Store:
        """The image store beside the runs."""
        return Store(self.runs / STORE)

    @cached_property
    def journal(self) -> Journal:
        """The journal of finished images."""
        return Journal(self.path / JOURNAL)

    @contextmanager
    def locked(self, *, wait: bool = False, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
        """Create the folder and hold its lock inside the block, so that no other process writes in it.

        Deletes temporary files of killed processes. Calls `on_wait` with a sentence before waiting.

        Raises:
            RecordError: E803, another process holds the lock and `wait` is false; E801, the folder cannot be created;
                E805, a symbolic link leads out of it.
        """
        inside(self.runs, f"{self.name}/{self.plan_digest[:DIGEST_LENGTH]}/{IMAGES}")
        with hold_lock(self.path / ".lock", wait=wait, on_wait=on_wait):
            make_folder(self.path / IMAGES)
            note_sharing(self.runs)
            remove_leftovers(self.path)
            remove_leftovers(self.path / IMAGES)
            yield

    def write(self, name: str, data: bytes) -> bool:
        """Write a document (`RECIPE`, `RESOLVED`, `REPORT`, …) into the folder; returns whether its contents changed.

        Raises:
            RecordError: E801; E805, `name` is not a file name.
        """
        return write_if_changed(inside(self.path, file_name(name)), data)

    def image_path(self, name: str) -> str:
        """The path of an image relative to the folder, as the manifest and the journal write it.

        Raises:
            RecordError: E805 when `name` is not a file name.
        """
        return f"{IMAGES}/{file_name(name)}"

    def write_image(self, name: str, data: bytes, *, durable: bool = True) -> str:
        """Write an image into `images/`; returns the sha256 of its bytes.

        `durable` can be false if the store has the image too (see `atomic.write_file`).

        Raises:
            RecordError: E801; E805, `name` is not a file name.
        """
        write_file(inside(self.path, self.image_path(name), replaced=True), data, durable=durable)
        return hashlib.sha256(data).hexdigest()

    def image_fault(self, path: str, file_sha256: str) -> str | None:
        """Why the file at `path` (relative, below `images/`) is not the image with this sha256; None if it is."""
        folder, _, name = path.partition("/")
        if folder != IMAGES or not _FILE.fullmatch(name):
            return "its path is not an image of this folder"
        try:
            with inside(self.path, path).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except RecordError:
            return "it is a symbolic link"
        except FileNotFoundError:
            return "the image is missing"
        except OSError as error:
            return f"the image cannot be read ({error.strerror})"
        if found != file_sha256:
            return "the image was changed (sha256 differs)"
        return None


def file_name(name: str) -> str:
    """`name`, if it is a plain file name that stays in its folder.

    Raises:
        RecordError: E805.
    """
    if not _FILE.fullmatch(name):
        raise _refused(name, "a file name")
    return name


_NAMES = "Use letters, digits, hyphens and underscores, and begin with a letter or digit."


def _refused(name: str, what: str, hint: str = _NAMES) -> RecordError:
    return RecordError(Problem(code="E805", message=f"{name!r} is not {what}", hint=hint))
