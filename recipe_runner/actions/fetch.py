"""Fetch the files that a recipe needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recipe_runner.actions.prepare import PrepareOptions, resolved_under
from recipe_runner.lock.fetch import fetch_locked
from recipe_runner.lock.file import LockedFile, lock_beside, read_lock
from recipe_runner.recipe.load import load_document
from recipe_runner.sources.access import Meter, NoMeter
from recipe_runner.sources.source import Source, SourceFile


def fetch_recipe(path: str | Path, *, meter: Meter | None = None) -> Mapping[str, tuple[SourceFile | LockedFile, ...]]:
    """Fetch the files that the recipe in the file `path` needs: those of its lock, or without a lock those of a run.

    Returns the files of each source, which are then all on this machine, with the bytes that the lock names.

    Raises:
        RecipeRunnerError: a file cannot be fetched, with code, place and remedy. Fetched files are kept.
    """
    document = load_document(path).document
    lock = read_lock(lock_beside(Path(document.source)))
    meter = meter or NoMeter()
    if lock is not None:
        fetch_locked(lock, Path(document.source).parent, meter)
        return {role: entry.files for role, entry in lock.sources.items()}
    resolved = resolved_under(document, None, PrepareOptions(network=True, meter=meter))
    sources = resolved.sources()
    return {role: source.files for role, source in sources.items() if isinstance(source, Source)}
