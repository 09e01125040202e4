"""Where a problem is, and where a node of the graph comes from: file, line, column."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A place in a file, or in an option of the command line.

    `line` and `column` count from 1, in characters; both are 0 for a file as a whole. `path` is empty for a
    problem without a place, such as a missing device. `width` is the number of columns that a caret underlines,
    `source_line` the text of the line.
    """

    path: str = ""
    line: int = 0
    column: int = 0
    width: int = 1
    source_line: str = ""

    @property
    def start(self) -> tuple[int, int]:
        """Line and column."""
        return self.line, self.column

    def __str__(self) -> str:
        """`recipe.yaml:14:5`, as compilers write it; only the path when there is no line."""
        if not self.line:
            return self.path
        return f"{self.path}:{self.line}:{self.column}"


NOWHERE = Place()
