"""A place in a text: where a problem is, where a node of the graph comes from."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A place in a file, or in an option of the command line.

    `line` and `column` count from 1, in characters; both are 0 for a file as a whole. `path` is empty where a problem
    has no place at all (a missing device, say). `width` is how many columns a caret underlines, `source_line` the line
    as it was read.
    """

    path: str = ""
    line: int = 0
    column: int = 0
    width: int = 1
    source_line: str = ""

    def __str__(self) -> str:
        """As compilers write it: `recipe.yaml:14:5`; the path alone where there is no line."""
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path


NOWHERE = Place()
