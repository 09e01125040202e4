"""Write the lock of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.disk.atomic import write_if_changed
from recipe_runner.lock.compare import changes, entries_named, make_lock, pins_of
from recipe_runner.lock.file import Lock, lock_beside, lock_text, read_lock
from recipe_runner.plan.resolve import resolve
from recipe_runner.recipe.load import load_document
from recipe_runner.recipe.matrix import variants
from recipe_runner.sources.access import Access, Meter, NoMeter, is_online, reach


@dataclass(frozen=True, kw_only=True)
class Locked:
    """The result of `lock_recipe`: the lock file, whether it was written, and the changes in it."""

    path: Path
    lock: Lock
    changed: bool
    changes: tuple[str, ...]


def lock_recipe(
    path: str | Path, upgrade: Sequence[str] = (), *, offline: bool = False, meter: Meter | None = None
) -> Locked:
    """Write the lock of the recipe in the file `path` beside it; existing pins are kept.

    Sources that are new, or that `upgrade` names, are looked up and fetched. Other sources are not, even if they are
    missing.

    Raises:
        RecipeRunnerError: a source cannot be locked, with code, place and remedy. The old lock is not changed.
    """
    document = load_document(path).document
    target = lock_beside(Path(document.source))
    old = read_lock(target)
    upgraded: frozenset[str] = frozenset()
    if upgrade and old:
        upgraded = entries_named(old, upgrade)
    pins = pins_of(old, without=upgraded)
    granted = Access(
        network=not offline and is_online(),
        newest=True,
        pins=pins,
        held_back=frozenset(pins),
        meter=meter or NoMeter(),
    )
    every = variants(document)
    with reach(granted):
        resolved = resolve(document, every)
        lock = make_lock(resolved.sources(), old, upgraded)
    changed = write_if_changed(target, lock_text(lock).encode("utf-8"))
    return Locked(path=target, lock=lock, changed=changed, changes=tuple(changes(old, lock)))
