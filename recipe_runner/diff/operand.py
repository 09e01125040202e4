"""The two things that are compared: read from files, folders and git revisions, and told apart by their contents."""

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
"""What git names for a side that is not there."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side: `label` is what the user called it, `name` its file's name, `data` its bytes.

    `beside` is the folder that relative paths start from; `folder` is the one that the file itself lies in, None where
    it comes from elsewhere. `revision` is its name within git. `document` is the parsed text of a recipe or lock.
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
        """What lies beside the file under this name, in its folder or its revision; None where nothing does."""
        if self.revision is not None:
            revision, _, path = self.revision.partition(":")
            found = read_revision(f"{revision}:{PurePosixPath(path).parent / name}", Path.cwd())
            return None if found is None else found[0]
        try:
            return None if self.folder is None else inside(self.folder, name).read_bytes()
        except OSError:
            return None


def read_side(operand: str, label: str = "", beside: Path | None = None) -> Side | None:
    """What `operand` names: a file, a run folder, or `REVISION:PATH`; None for nothing, as git names it.

    Args:
        operand: the name.
        label: what to call it; `operand` itself where it is left out.
        beside: the folder that its relative paths start from, where that is not its own.

    Raises:
        RecordError: E802, a file cannot be read.
        ResolutionError: E831, there is neither such a file nor such a revision.
        RecipeSyntaxError: it is no document.
    """
    path = Path(operand)
    if operand == NOTHING:
        return None
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise _unknown(operand, f"the folder has no {MANIFEST}", "Name a run folder, or a file.")
        return read_side(str(inside(path, MANIFEST)), label or operand)
    if path.exists():
        with reading(path):
            data = path.read_bytes()
        # What git hands over is a copy of its own, beside which nothing of the recipe lies.
        return _side(label or operand, path.name, data, beside or path.parent, folder=None if beside else path.parent)
    revision, colon, path_there = operand.partition(":")
    if colon and revision and path_there:
        found = read_revision(operand, Path.cwd())
        if found is None:
            reason = f"git knows no {path_there} in {revision}"
            raise _unknown(operand, reason, "A revision is written as git writes it: `HEAD~1:recipes/a.yaml`.")
        name = PurePosixPath(found[2].partition(":")[2]).name
        return _side(label or operand, name, found[0], found[1], revision=found[2])
    raise _unknown(operand, "there is no such file", "Name a file, a run folder, or REVISION:PATH.")


def _side(
    label: str, name: str, data: bytes, beside: Path, *, folder: Path | None = None, revision: str | None = None
) -> Side:
    kind: Kind = "run"
    document = None
    if data.lstrip()[:1] != b"{" or not _is_manifest(data):
        document = parse_document(data, label, beside)
        kind = "lock" if "lock" in document.tree and "recipe" not in document.tree else "recipe"
    return Side(
        label=label, kind=kind, name=name, data=data, beside=beside, folder=folder, revision=revision, document=document
    )


def _is_manifest(data: bytes) -> bool:
    """Whether JSON text is a manifest; a recipe may be JSON too."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(tree, dict) and "manifest" in tree


def same_kind(old: Side | None, new: Side | None) -> Kind:
    """The kind of both sides.

    Raises:
        RecordError: E830 where they are of two kinds, or neither is there.
    """
    if old is None or new is None:
        side = old or new
        if side is None:
            raise _unknown(NOTHING, "neither side is there", "")
        return side.kind
    if old.kind != new.kind:
        message = f"{old.label} is a {old.kind} and {new.label} is a {new.kind}"
        hint = "Compare two of a kind. The recipe of a run is the resolved.yaml in its folder."
        raise RecordError(Problem(code="E830", message=message, place=Place(new.label), hint=hint))
    return old.kind


def _unknown(operand: str, reason: str, hint: str) -> ResolutionError:
    return ResolutionError(Problem(code="E831", message=reason, place=Place(operand), hint=hint))
