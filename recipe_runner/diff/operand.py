"""Read the two sides of a comparison from files, folders and git revisions, and detect their kind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from recipe_runner.disk.atomic import reading
from recipe_runner.disk.inside import inside
from recipe_runner.document.document import Document, parse_document
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError, ResolutionError
from recipe_runner.record.git import read_revision
from recipe_runner.record.names import MANIFEST

Kind = Literal["recipe", "lock", "run"]
NOTHING = "/dev/null"
"""The name that git gives to a missing side."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side: `label` is the name that the user gave, `name` its file's name, `data` its bytes.

    `beside` is the folder that relative paths start from; `folder` is the folder of the file itself, None if it comes
    from elsewhere. `revision` is its name within git. `document` is the parsed text of a recipe or lock.
    """

    label: str
    kind: Kind
    name: str
    data: bytes
    beside: Path
    folder: Path | None = None
    revision: str | None = None
    document: Document | None = None

    def sibling(self, name: str) -> bytes | None:
        """The contents of the file `name` in the same folder or revision; None if it does not exist."""
        if self.revision is not None:
            revision, _, path = self.revision.partition(":")
            found = read_revision(f"{revision}:{PurePosixPath(path).parent / name}", Path.cwd())
            if found is None:
                return None
            return found[0]
        if self.folder is None:
            return None
        try:
            return inside(self.folder, name).read_bytes()
        except OSError:
            return None


def read_side(operand: str, label: str = "", beside: Path | None = None) -> Side | None:
    """The side that `operand` names: a file, a run folder, or `REVISION:PATH`; None for `/dev/null`.

    Args:
        operand: the name.
        label: the name to show; `operand` by default.
        beside: the folder that its relative paths start from; its own by default.

    Raises:
        RecordError: E802, a file cannot be read.
        ResolutionError: E831, neither a file nor a revision has this name.
        RecipeSyntaxError: the file is not a YAML document.
    """
    path = Path(operand)
    if operand == NOTHING:
        return None
    label = label or operand
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise _unknown(operand, f"the folder has no {MANIFEST}", "Name a run folder, or a file.")
        return read_side(str(inside(path, MANIFEST)), label)
    if path.exists():
        with reading(path):
            data = path.read_bytes()
        if beside is None:
            return _side(label, path.name, data, path.parent, folder=path.parent)
        # Git passes a temporary copy, which has none of the recipe's files beside it.
        return _side(label, path.name, data, beside)
    return _read_from_git(operand, label)


def _read_from_git(operand: str, label: str) -> Side:
    revision, _, path = operand.partition(":")
    if not revision or not path:
        raise _unknown(operand, "file not found", "Name a file, a run folder, or REVISION:PATH.")
    found = read_revision(operand, Path.cwd())
    if found is None:
        hint = "Write a revision as git does: `HEAD~1:recipes/a.yaml`."
        raise _unknown(operand, f"git does not find {path} in {revision}", hint)
    data, folder, name = found
    return _side(label, PurePosixPath(name.partition(":")[2]).name, data, folder, revision=name)


def _side(
    label: str, name: str, data: bytes, beside: Path, *, folder: Path | None = None, revision: str | None = None
) -> Side:
    kind: Kind = "run"
    document = None
    if data.lstrip()[:1] != b"{" or not _is_manifest(data):
        document = parse_document(data, label, beside)
        kind = "recipe"
        if "lock" in document.tree and "recipe" not in document.tree:
            kind = "lock"
    return Side(
        label=label, kind=kind, name=name, data=data, beside=beside, folder=folder, revision=revision, document=document
    )


def _is_manifest(data: bytes) -> bool:
    """Whether JSON text is a manifest; a recipe can be JSON too."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(tree, dict) and "manifest" in tree


def same_kind(old: Side | None, new: Side | None) -> Kind:
    """The kind of both sides.

    Raises:
        RecordError: E830, the sides are of different kinds.
        ResolutionError: E831, neither side exists.
    """
    if old is None or new is None:
        side = old or new
        if side is None:
            raise _unknown(NOTHING, "neither side exists", "")
        return side.kind
    if old.kind != new.kind:
        message = f"{old.label} is a {old.kind} and {new.label} is a {new.kind}"
        hint = "Compare two sides of the same kind. The recipe of a run is the resolved.yaml in its folder."
        raise RecordError(Problem(code="E830", message=message, place=Place(new.label), hint=hint))
    return old.kind


def _unknown(operand: str, reason: str, hint: str) -> ResolutionError:
    return ResolutionError(Problem(code="E831", message=reason, place=Place(operand), hint=hint))
