"""Compare two sides of any kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from recipe_runner.diff.difference import Difference
from recipe_runner.diff.images import AskedImage, cost, planned, said
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
    """The plan of a checked recipe; it is provisional if a source is not on this machine.

    Raises:
        RecipeRunnerError: the recipe cannot be planned.
    """
    document = cast("Document", side.document)
    return compile_plan(resolve(document, variants(document)))


def compare(old: Side | None, new: Side | None, make_plan: Callable[[Side], Plan] = plan_of) -> Difference:
    """The difference between two sides, either of which may be missing. `make_plan` makes the plan of a recipe.

    Raises:
        RecordError: E830, the sides are of different kinds; E804, a manifest is not valid.
        RecipeInvalid: a recipe is not valid; lists all its errors.
    """
    kind = same_kind(old, new)
    labels = (_label(old), _label(new))
    if kind == "run":
        # Only runs need the types of manifests, which take time to import.
        from recipe_runner.diff.run import compare_runs  # noqa: PLC0415

        return compare_runs(old, new, labels)
    if kind == "lock":
        changes = compare_locks(_document(old), _document(new))
        return Difference(kind=kind, old=labels[0], new=labels[1], changes=changes)
    return _recipes(old, new, labels, make_plan)


def check(document: Document) -> None:
    """Refuse a document that is not a valid recipe.

    Raises:
        RecipeInvalid: lists all its errors.
    """
    errors = [problem for problem in problems_of(document) if problem.severity == "error"]
    if errors:
        raise RecipeInvalid(*errors)


def _recipes(
    old: Side | None, new: Side | None, labels: tuple[str, str], make_plan: Callable[[Side], Plan]
) -> Difference:
    before, after = _document(old), _document(new)
    for document in (before, after):
        if document is not None:
            check(document)
    plans: list[Plan | None] = []
    reasons: list[str] = []
    for side in (old, new):
        plan = None
        try:
            if side is not None:
                plan = make_plan(side)
        except RecipeRunnerError as error:
            reasons.append(f"{_label(side)} cannot be planned: {error.problems[0].message}")
        plans.append(plan)
    changes = compare_recipes(before, after, (_pipeline(plans[0]), _pipeline(plans[1])))
    if reasons:
        # Node keys and what a recipe says cannot be compared: if one side has no plan, neither plan is used.
        costs = cost(_said(before), _said(after), reasons)
    else:
        first, second = _planned(plans[0]), _planned(plans[1])
        costs = cost(first[0], second[0], [*first[1], *second[1]])
    return Difference(kind="recipe", old=labels[0], new=labels[1], changes=changes, cost=costs)


def _said(document: Document | None) -> list[AskedImage]:
    if document is None:
        return []
    return said(document)


def _planned(plan: Plan | None) -> tuple[list[AskedImage], list[str]]:
    if plan is None:
        return [], []
    return planned(plan)


def _label(side: Side | None) -> str:
    if side is None:
        return NOBODY
    return side.label


def _document(side: Side | None) -> Document | None:
    if side is None:
        return None
    return side.document


def _pipeline(plan: Plan | None) -> str | None:
    """The pipeline class of all variants; None if they differ."""
    if plan is None:
        return None
    found = {variant.base.pipeline for variant in plan.recipe.variants}
    if len(found) != 1:
        return None
    return found.pop()
