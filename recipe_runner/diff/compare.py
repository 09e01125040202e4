"""Compare two sides of any kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from recipe_runner.diff.difference import Difference
from recipe_runner.diff.images import cost, planned, said
from recipe_runner.diff.lock import compare_locks
from recipe_runner.diff.operand import Side, same_kind
from recipe_runner.diff.recipe import compare_recipes
from recipe_runner.document.document import Document
from recipe_runner.plan.compile import Plan, compile_plan
from recipe_runner.plan.resolve import resolve
from recipe_runner.problems.problem import RecipeInvalid, RecipeRunnerError
from recipe_runner.recipe.load import problems_of
from recipe_runner.recipe.matrix import variants

NOBODY = "(nothing)"


def plan_of(side: Side) -> Plan:
    """The plan of a checked recipe; what is not on this machine makes it provisional.

    Raises:
        RecipeRunnerError: no plan can be made.
    """
    document = cast("Document", side.document)
    return compile_plan(resolve(document, variants(document)))


def compare(old: Side | None, new: Side | None, make_plan: Callable[[Side], Plan] = plan_of) -> Difference:
    """What differs between two sides; one that is None is not there. `make_plan` makes the plan of a recipe.

    Raises:
        RecordError: E830, the sides are of two kinds; E804, a manifest is none.
        RecipeInvalid: a recipe is none, with all its errors.
    """
    kind = same_kind(old, new)
    labels = (old.label if old else NOBODY, new.label if new else NOBODY)
    if kind == "run":
        # Runs alone need types of manifests, which take time to import.
        from recipe_runner.diff.run import compare_runs  # noqa: PLC0415

        return compare_runs(old, new, labels)
    if kind == "lock":
        changes = compare_locks(old.document if old else None, new.document if new else None)
        return Difference(kind=kind, old=labels[0], new=labels[1], changes=changes)
    return _recipes(old, new, labels, make_plan)


def check(document: Document) -> None:
    """Refuse what is no recipe.

    Raises:
        RecipeInvalid: with all its errors.
    """
    errors = [problem for problem in problems_of(document) if problem.severity == "error"]
    if errors:
        raise RecipeInvalid(*errors)


def _recipes(
    old: Side | None, new: Side | None, labels: tuple[str, str], make_plan: Callable[[Side], Plan]
) -> Difference:
    documents = [side.document if side else None for side in (old, new)]
    for document in documents:
        if document is not None:
            check(document)
    plans: list[Plan | None] = []
    reasons: list[str] = []
    for side in (old, new):
        try:
            plans.append(None if side is None else make_plan(side))
        except RecipeRunnerError as error:
            plans.append(None)
            reasons.append(f"no plan of {side.label if side else ''} can be made: {error.problems[0].message}")
    changes = compare_recipes(documents[0], documents[1], (_pipeline(plans[0]), _pipeline(plans[1])))
    if reasons:
        # Like is held against like: where one side has no plan, both are compared by what they say.
        sides = [[] if document is None else said(document) for document in documents]
    else:
        found = [([], []) if plan is None else planned(plan) for plan in plans]
        sides = [pictures for pictures, _ in found]
        reasons = [reason for _, missing in found for reason in missing]
    return Difference(
        kind="recipe", old=labels[0], new=labels[1], changes=changes, cost=cost(sides[0], sides[1], reasons)
    )


def _pipeline(plan: Plan | None) -> str | None:
    """The pipeline class of every variant, where it is one."""
    found = {variant.base.pipeline for variant in plan.recipe.variants} if plan else set()
    return found.pop() if len(found) == 1 else None
