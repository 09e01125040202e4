"""Two locks, entry by entry: a revision that moved, files that changed, came or went."""

from __future__ import annotations

from collections.abc import Mapping

from recipe_runner.canonical import Json
from recipe_runner.diff.difference import Change
from recipe_runner.diff.recipe import Places
from recipe_runner.diff.tree_diff import Walk
from recipe_runner.document.document import Document


def compare_locks(old: Document | None, new: Document | None) -> tuple[Change, ...]:
    """What differs; a side that is None is a file that is not there. The order of entries says nothing in a lock."""
    before, after = (_named(document.tree) if document else {} for document in (old, new))
    walk = Walk("lock", Places(old, new))
    return tuple(walk.leaves((), before, after))


def _named(value: Json) -> Json:
    """Lists of named entries as mappings, so that an entry is found again wherever it stands."""
    if isinstance(value, Mapping):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and "name" in item for item in value):
        return {str(item["name"]): {key: _named(part) for key, part in item.items() if key != "name"} for item in value}
    return value
