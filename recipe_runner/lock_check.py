"""Whether the lock of a recipe is current. Reaches no network and compiles nothing, so that it is quick."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recipe_runner.errors import Problem, ResolutionError
from recipe_runner.load import load_document
from recipe_runner.locking import judge, no_lock, pins_of
from recipe_runner.matrix import variants
from recipe_runner.resolve import resolve
from recipe_runner.sources.access import Access, Meter, reach
from recipe_runner.sources.lock_file import lock_beside, read_lock


def stale_entries(path: Path, meter: Meter) -> Sequence[Problem]:
    """What keeps the lock of a recipe from being current, and what is only worth a warning.

    That is E431 where there is none, E430 and E432 for each entry that is not what the recipe says and what is here.

    Raises:
        RecipeRunnerError: it is no recipe, or what it names is broken, refused or does not fit.
    """
    document = load_document(path).document
    lock = read_lock(lock_beside(path))
    if lock is None:
        return [no_lock(document)]
    with reach(Access(pins=pins_of(lock), meter=meter)):
        resolved = resolve(document, variants(document))
    try:
        return judge(lock, resolved.sources(), document, "locked")
    except ResolutionError as error:
        return error.problems
