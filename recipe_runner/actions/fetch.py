"""Fetch what a recipe needs onto this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recipe_runner.actions.prepare import Terms, resolved_under
from recipe_runner.lock.fetch import fetch_locked
from recipe_runner.lock.file import LockedFile, lock_beside, read_lock
from recipe_runner.recipe.load import load_document
from recipe_runner.sources.access import Meter, NoMeter
from recipe_runner.sources.source import Source, SourceFile


def fetch_recipe(path: str | Path, *, meter: Meter | None = None) -> Mapping[str, tuple[SourceFile | LockedFile, ...]]:
    """Fetch what the recipe in the file `path` needs: what its lock names, or without one what a run would fetch.

    Returns the files of each source, all of which are on this machine then, with the bytes that the lock names.

    Raises:
        RecipeRunnerError: what cannot be fetched, with code, place and remedy. What has come is kept.
    """
    document = load_document(path).document
    lock = read_lock(lock_beside(Path(document.source)))
    meter = meter or NoMeter()
    if lock is not None:
        fetch_locked(lock, Path(document.source).parent, meter)
        return {role: entry.files for role, entry in lock.sources.items()}
    resolved = resolved_under(document, None, Terms(network=True, meter=meter))
    sources = resolved.sources()
    return {role: source.files for role, source in sources.items() if isinstance(source, Source)}
