"""The files of one part of a model, as the library that loads it gets to see them: those that were hashed, no other.

Loaders choose by rules of their own among what lies in a folder. In a folder of links to just the files of a source
there is nothing to choose: what is loaded is what the source's digest says.
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
    """The files of `source` that lie in its folder `folder` itself (`` for its root)."""

    source: Source
    folder: str

    @property
    def names(self) -> list[str]:
        """Their names in the folder."""
        prefix = f"{self.folder}/" if self.folder else ""
        inner = [file.name.removeprefix(prefix) for file in self.source.files if file.name.startswith(prefix)]
        return [name for name in inner if "/" not in name]

    @property
    def shown(self) -> str:
        """The folder for a message."""
        return f"{self.source.address}/{self.folder}" if self.folder else self.source.address

    def path(self, name: str) -> Path:
        """Where the file called `name` lies."""
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
