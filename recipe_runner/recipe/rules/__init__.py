"""Rules between fields, which a schema cannot express. Needs no torch, no pydantic, no network.

A rule is a function from a view of the recipe to findings; `RULES` has all of them. They check the recipe with the
first value of each axis, and again with each further value.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from recipe_runner.document.paths import replaced
from recipe_runner.problems.wording import shown
from recipe_runner.recipe.rules import adapters, base, secrets
from recipe_runner.recipe.rules import prompts as request
from recipe_runner.recipe.rules.axes import Axis, read_axes, too_many
from recipe_runner.recipe.rules.view import View
from recipe_runner.recipe.schema.check import in_order

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.document import Document
    from recipe_runner.document.paths import RecipePath
    from recipe_runner.problems.problem import Problem
    from recipe_runner.recipe.finding import Finding

RULES: tuple[Callable[[View], Iterator[Finding]], ...] = (
    base.pipeline,
    base.scheduler,
    base.components,
    base.sampling,
    base.pickles,
    adapters.fitting,
    adapters.scales,
    adapters.merges,
    adapters.image_prompts,
    adapters.tokens,
    request.ids,
    request.images,
    request.encoders,
    request.notations,
    request.seeds,
    request.empties,
)
_MOST_VALUES = 500
"""How many values of all axes the rules check; numbers and prompts count once, because no rule depends on them."""
_MOST_FINDINGS = 500
"""How many problems of one rule are reported: nobody reads more, and the search for similar names takes time."""


def check_rules(document: Document) -> tuple[Problem, ...]:
    """All problems between the fields of a recipe, including warnings, in the order of the text.

    Parts of the wrong shape are ignored, because `check_recipe` reports them.
    """
    axes, findings = read_axes(document.tree)
    findings += too_many(document.tree, axes)
    findings += _varied(document.tree, axes, document.folder)
    findings += secrets.in_values(document.tree)
    problems = [finding.placed(document) for finding in findings]
    return in_order([*problems, *secrets.in_comments(document)])


def _varied(tree: Mapping[str, Json], axes: Sequence[Axis], folder: Path) -> Iterator[Finding]:
    first: Json = tree
    for axis in axes:
        if axis.values:
            first = replaced(first, axis.path, axis.values[0][1])
    found = _findings(first, folder)
    if axes:
        # No variant reads the values that an axis replaces, but their mistakes are reported, too.
        yield from [finding for finding in _findings(tree, folder) if _axis_of(finding, axes)]
    for finding in found:
        axis_of = _axis_of(finding, axes)
        if axis_of and axis_of.values:
            yield _on_axis(finding, axis_of, axis_of.values[0][0])
        else:
            yield finding
    known = {(finding.code, finding.path) for finding in found}
    for axis in axes:
        for index, value in _telling(axis)[: _MOST_VALUES // len(axes)]:
            others = _findings(replaced(first, axis.path, value), folder)
            yield from _of_value(others, axis, index, value, known)


def _of_value(
    findings: Iterable[Finding], axis: Axis, index: int, value: Json, known: Container[tuple[str, RecipePath]]
) -> Iterator[Finding]:
    """The findings that a further value of an axis adds to the known ones."""
    for finding in findings:
        if _axis_of(finding, [axis]):
            yield _on_axis(finding, axis, index)
        elif (finding.code, finding.path) not in known:
            message = f"{finding.message} (in the variants with `{axis.text}` = {shown(value)})"
            yield replace(finding, message=message)


def _axis_of(finding: Finding, axes: Sequence[Axis]) -> Axis | None:
    """The axis whose value a finding is about; None when it is about no axis."""
    for axis in axes:
        if finding.path[: len(axis.path)] == axis.path:
            return axis
    return None


def _findings(tree: Json, folder: Path) -> list[Finding]:
    view = View(cast("Mapping[str, Json]", tree), folder)
    found: list[Finding] = []
    for rule in RULES:
        found += islice(rule(view), _MOST_FINDINGS)
    return found


def _on_axis(finding: Finding, axis: Axis, index: int) -> Finding:
    """A finding about a value of an axis, moved to that value, or to the axis when it is about its name."""
    rest = finding.path[len(axis.path) :]
    if finding.key and not rest:
        return finding.under(("matrix", axis.text))
    return finding.under(("matrix", axis.text, index, *rest))


def _telling(axis: Axis) -> list[tuple[int, Json]]:
    """The values after the first for which rules can find other problems: one number stands for all."""
    if axis.path[0] == "prompts" and axis.path[-1] in adapters.TEXTS:
        return []
    seen_number = bool(axis.values) and isinstance(axis.values[0][1], (int, float))
    telling: list[tuple[int, Json]] = []
    for index, value in axis.values[1:]:
        number = isinstance(value, (int, float))
        if not (number and seen_number):
            telling.append((index, value))
        seen_number |= number
    return telling
