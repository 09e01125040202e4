"""Compare two locks entry by entry: moved revisions, and files changed, added or removed."""

from __future__ import annotations

from collections.abc import Mapping

from recipe_runner.canonical import Json
from recipe_runner.diff.difference import Change
from recipe_runner.diff.recipe import Places
from recipe_runner.diff.tree_diff import Walk, without
from recipe_runner.document.document import Document


def compare_locks(old: Document | None, new: Document | None) -> tuple[Change, ...]:
    """The changes between two locks; None stands for a missing file. The order of entries has no meaning in a lock."""
    walk = Walk("lock", Places(old, new))
    return tuple(walk.leaves((), _entries(old), _entries(new)))


def _entries(document: Document | None) -> Json:
    if document is None:
        return {}
    return _named(document.tree)


def _named(value: Json) -> Json:
    """`value` with each list of named entries as a mapping by name, so that their order does not matter."""
    if isinstance(value, Mapping):
        return {key: _named(item) for key, item in value.items()}
    if not isinstance(value, list) or not value:
        return value
    entries: dict[str, Json] = {}
    for item in value:
        if not isinstance(item, Mapping) or "name" not in item:
            return value
        entries[str(item["name"])] = _named(without(item, ("name",)))
    return entries
