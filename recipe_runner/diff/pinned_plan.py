"""The plan of a side of a comparison, under the lock that lies beside its recipe."""

from __future__ import annotations

from pathlib import Path

from recipe_runner.diff.compare import plan_of
from recipe_runner.diff.operand import Side
from recipe_runner.lock.file import lock_beside, lock_from
from recipe_runner.plan.compile import Plan


def pinned_plan(side: Side) -> Plan:
    """The plan of a recipe, its sources pinned by the lock in its folder or its revision; nothing is fetched.

    Raises:
        RecipeRunnerError: no plan can be made, or the lock is none.
    """
    name = lock_beside(Path(side.name)).name
    data = side.sibling(name)
    if data is None:
        return plan_of(side)
    # Only where there is a lock: most comparisons are done before this is imported.
    from recipe_runner.lock.compare import pins_of  # noqa: PLC0415
    from recipe_runner.sources.access import Access, reach  # noqa: PLC0415

    with reach(Access(pins=pins_of(lock_from(data, f"{side.label} ({name})")))):
        return plan_of(side)
