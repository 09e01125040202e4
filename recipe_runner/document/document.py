"""A recipe's text as a plain tree, with the line and column of every key and value, and with overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recipe_runner.document.overrides import override
from recipe_runner.document.text import SourceText, read_text
from recipe_runner.document.tree import TreeNode, read_nodes
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeSyntaxError, Severity

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.paths import RecipePath


@dataclass(frozen=True)
class Document:
    """A parsed recipe or manifest: `tree` is plain data, `place` finds the place of each part.

    `beside` is the folder that relative paths start from, when it is not the folder of the source.
    """

    origin: SourceText
    root: TreeNode
    beside: Path | None = None

    @property
    def source(self) -> str:
        """The name of the file, as the user gave it."""
        return self.origin.source

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the document start from."""
        return self.beside or Path(self.source).parent

    @property
    def text(self) -> str:
        """The text as it was read, without overrides."""
        return self.origin.text

    @cached_property
    def tree(self) -> Mapping[str, Json]:
        """The plain tree. It is shared: do not change it."""
        return cast("Mapping[str, Json]", self.root.value)

    def place(self, path: RecipePath, *, key: bool = False) -> Place:
        """The place of the value at `path`, or of its key; of the nearest existing ancestor when it is missing."""
        node, place = self.root, self.root.place
        for segment in path:
            child = _child(node, segment)
            if child is None:
                break
            place = child.place
            if key and node.keys and isinstance(segment, str):
                place = node.keys[segment]
            node = child
        return place

    def problem(
        self,
        code: str,
        message: str,
        path: RecipePath,
        hint: str = "",
        *,
        key: bool = False,
        severity: Severity = "error",
    ) -> Problem:
        """A problem at the value at `path`, or at its key."""
        return Problem.at(self.place(path, key=key), code, message, hint, severity)

    def path_at(self, line: int, column: int) -> RecipePath | None:
        """The path of the deepest part whose key or value begins at a place of the text."""
        found: RecipePath | None = None
        pending: list[tuple[RecipePath, TreeNode]] = [((), self.root)]
        while pending:
            path, node = pending.pop()
            for name, part in node.named_parts():
                below = (*path, name)
                starts = (part.place.start, node.key_place(name).start)
                if (line, column) in starts and (found is None or len(below) > len(found)):
                    found = below
                pending.append((below, part))
        return found

    def without(self, path: RecipePath) -> Document:
        """The document without the part at `path`, which must exist."""
        return Document(self.origin, _without(self.root, path), self.beside)

    def with_overrides(self, overrides: Sequence[str]) -> Document:
        """The document with each `path=value` applied in order; the value is YAML. A later one wins.

        Raises:
            RecipeInvalid: E301, E302, E303 with the place in the option's text.
        """
        root = self.root
        for text in overrides:
            root = override(root, text)
        return Document(self.origin, root, self.beside)


def parse_document(data: bytes | str, source: str, beside: Path | None = None) -> Document:
    """Read one YAML 1.2 document that is a mapping; `beside` as in `Document`.

    Raises:
        RecipeSyntaxError: E101 to E117, each with line and column; its `rest` is a document, or None.
    """
    origin = read_text(data, source)
    try:
        root = read_nodes(origin)
    except RecipeSyntaxError as error:
        rest, error.rest = error.rest, None
        if isinstance(rest, TreeNode) and isinstance(rest.value, Mapping):
            error.rest = Document(origin, rest)
        raise
    if root is None or root.value is None:
        hint = "`recipe-runner init` writes a recipe to start from."
        raise RecipeSyntaxError(Problem.at(origin.at(1, 1), "E106", "the file is empty", hint))
    if not isinstance(root.value, Mapping):
        what = "a list" if isinstance(root.value, list) else "a single value"
        message = f"the document is {what}, not a mapping of keys"
        hint = "Start with `recipe: 1` and a line for each section."
        raise RecipeSyntaxError(Problem.at(root.place, "E115", message, hint))
    return Document(origin, root, beside)


def _without(node: TreeNode, path: RecipePath) -> TreeNode:
    first, rest = path[0], path[1:]
    parts: Any = copy(node.parts)
    if rest:
        parts[first] = _without(parts[first], rest)
    else:
        del parts[first]
    return node.with_parts(parts)


def _child(node: TreeNode, segment: str | int) -> TreeNode | None:
    found: TreeNode | None = None
    if isinstance(node.parts, dict) and isinstance(segment, str):
        found = node.parts.get(segment)
    elif isinstance(node.parts, list) and isinstance(segment, int) and segment < len(node.parts):
        found = node.parts[segment]
    return found
