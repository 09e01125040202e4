"""The files of one component of a model, shown to the library that loads it: only the files that were hashed.

Loaders choose among the files of a folder by their own rules. A folder of links to exactly the files of a source leaves
no choice: the loader reads what the source's digest describes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.disk.atomic import writing
from recipe_runner.sources.source import Source


@dataclass(frozen=True)
class PartFiles:
    """The files of `source` directly in its folder `folder` (`` for its root)."""

    source: Source
    folder: str

    @property
    def names(self) -> list[str]:
        """Their names in the folder."""
        found = []
        for file in self.source.files:
            folder, _, name = file.name.rpartition("/")
            if folder == self.folder:
                found.append(name)
        return found

    @property
    def shown(self) -> str:
        """The folder for a message."""
        return f"{self.source.address}/{self.folder}" if self.folder else self.source.address

    def path(self, name: str) -> Path:
        """The path of the file called `name`."""
        return self.source.path(f"{self.folder}/{name}" if self.folder else name)

    @contextmanager
    def linked(self) -> Iterator[Path]:
        """A folder that holds exactly these files, until the end of the `with` statement.

        Raises:
            RecordError: E801 the folder for temporary files cannot be written.
        """
        with writing(Path(tempfile.tempdir or "the folder for temporary files")):
            folder = Path(tempfile.mkdtemp(prefix="recipe-runner-part-"))
        try:
            with writing(folder):
                for name in self.names:
                    _link(self.path(name).absolute(), folder / name)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _link(file: Path, link: Path) -> None:
    try:
        link.symlink_to(file)
    except OSError:
        # Where symbolic links need a privilege; hard links need the same file system.
        link.hardlink_to(file.resolve())
