"""Rules between fields: what the shape of a recipe cannot say. No torch, no pydantic, no network.

A rule is a function from a view of the recipe to findings; `RULES` is all of them. They are checked for the recipe with
the first value of each axis, and again for each further value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
"""How many values of all axes get the rules of their own; numbers and prompts, which no rule judges, count once."""
_MOST_FINDINGS = 500
"""How many problems of one rule are told: nobody reads more, and looking for nearest names takes time."""


def check_rules(document: Document) -> tuple[Problem, ...]:
    """Every problem between the fields of a recipe, warnings among them, in the order of the text.

    Parts of the wrong shape are passed over: `check_recipe` tells about them.
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
    known = {(finding.code, finding.path) for finding in found}
    if axes:
        # What an axis replaces is read by no variant, and a mistake in it is still one.
        yield from (finding for finding in _findings(tree, folder) if _axis_of(finding, axes))
    for finding in found:
        axis_of = _axis_of(finding, axes)
        yield _on_axis(finding, axis_of, axis_of.values[0][0]) if axis_of and axis_of.values else finding
    for axis in axes:
        for index, value in _telling(axis)[: _MOST_VALUES // len(axes)]:
            for finding in _findings(replaced(first, axis.path, value), folder):
                if _axis_of(finding, [axis]):
                    yield _on_axis(finding, axis, index)
                elif (finding.code, finding.path) not in known:
                    message = f"{finding.message} (in the variants with `{axis.text}` = {shown(value)})"
                    yield replace(finding, message=message)


def _axis_of(finding: Finding, axes: Sequence[Axis]) -> Axis | None:
    """The axis whose values a finding is about, if it is about one's."""
    return next((axis for axis in axes if finding.path[: len(axis.path)] == axis.path), None)


def _findings(tree: Json, folder: Path) -> list[Finding]:
    view = View(cast("Mapping[str, Json]", tree), folder)
    return [finding for rule in RULES for finding in islice(rule(view), _MOST_FINDINGS)]


def _on_axis(finding: Finding, axis: Axis, index: int) -> Finding:
    """A finding about a value of an axis, at that value; one about the axis' own name, at the axis."""
    rest = finding.path[len(axis.path) :]
    if finding.key and not rest:
        return finding.under(("matrix", axis.text))
    return finding.under(("matrix", axis.text, index, *rest))


def _telling(axis: Axis) -> list[tuple[int, Json]]:
    """The values after the first that a rule may judge differently: of numbers one is as good as another."""
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
