"""The plan of one side of a comparison, with the lock beside its recipe."""

from __future__ import annotations

from pathlib import Path

from recipe_runner.diff.compare import plan_of
from recipe_runner.diff.operand import Side
from recipe_runner.lock.file import lock_beside, lock_from
from recipe_runner.plan.compile import Plan


def pinned_plan(side: Side) -> Plan:
    """The plan of a recipe, with sources pinned by the lock in its folder or revision; fetches nothing.

    Raises:
        RecipeRunnerError: the recipe cannot be planned, or the lock is not valid.
    """
    name = lock_beside(Path(side.name)).name
    data = side.sibling(name)
    if data is None:
        return plan_of(side)
    # Imported only if there is a lock: most comparisons do not need it.
    from recipe_runner.lock.compare import pins_of  # noqa: PLC0415
    from recipe_runner.sources.access import Access, reach  # noqa: PLC0415

    with reach(Access(pins=pins_of(lock_from(data, f"{side.label} ({name})")))):
        return plan_of(side)
