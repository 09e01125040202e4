"""Apply overrides such as `--set path=value` to a document's tree; their places point into the option."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, cast

from recipe_runner.canonical import mapping
from recipe_runner.document.paths import PathNotFoundError, PathSyntaxError, Step, locate, parse_path
from recipe_runner.document.text import SourceText, read_text
from recipe_runner.document.tree import TreeNode, read_nodes
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeInvalid, RecipeSyntaxError
from recipe_runner.problems.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recipe_runner.canonical import Json
    from recipe_runner.document.paths import RecipePath

SOURCE = "--set"
"""The file name in problems of an override."""
_ADDED = 2
"""Index of the adapter's own key in a path into an adapter."""
_EXAMPLE = "An override is path=value, such as sampling.guidance_scale=5."


def override(root: TreeNode, text: str) -> TreeNode:
    """`root` with the override `text`; it shares the unchanged parts.

    Raises:
        RecipeInvalid: E301 (not an override), E302 (the path does not exist), E303 (the value is not YAML).
    """
    try:
        origin = read_text(text, SOURCE)
    except RecipeSyntaxError as error:
        raise RecipeInvalid(*error.problems) from error
    path_text, equals, value_text = text.partition("=")
    if not equals:
        _refuse(origin.at(1, 1, len(text)), "E301", f"`{text}` has no `=`", _EXAMPLE)
    steps = _steps(root, origin, path_text)
    shift = len(path_text) + 1
    try:
        value = read_nodes(origin, value_text, shift)
    except RecipeSyntaxError as error:
        raise RecipeInvalid(*[_value_problem(problem) for problem in error.problems]) from error
    if value is None:
        value = TreeNode(None, origin.at(1, shift))
    return _placed(root, steps, value, origin)


def _value_problem(problem: Problem) -> Problem:
    if problem.code not in ("E104", "E105"):
        return problem
    hint = "The value is YAML: quote a text with special characters, inside the quotes of the shell."
    return replace(problem, code="E303", hint=hint)


def _steps(root: TreeNode, origin: SourceText, text: str) -> list[Step]:
    try:
        steps = parse_path(text)
    except PathSyntaxError as error:
        _refuse(origin.at(1, error.column), "E301", f"`{text}` is not a valid path: {error}", _EXAMPLE)
    try:
        path = locate(root.value, steps)
    except PathNotFoundError as error:
        names = did_you_mean(str(error.step.name), error.known)
        _refuse(origin.at(1, error.step.column, error.step.width), "E302", str(error), names)
    adapters = mapping(mapping(root.value).get("adapters"))
    if adapters and _misses_adapter(path, adapters):
        step, hint = steps[1], did_you_mean(str(path[1]), adapters)
        _refuse(origin.at(1, step.column, step.width), "E302", f"no adapter is called `{path[1]}`", hint)
    return [replace(step, name=segment) for step, segment in zip(steps, path, strict=True)]


def _misses_adapter(path: RecipePath, adapters: Mapping[str, Json]) -> bool:
    """Whether a path leads into an adapter that is missing. A path to `kind` or `model` adds the adapter."""
    if path[0] != "adapters" or len(path) <= _ADDED:
        return False
    return path[1] not in adapters and path[_ADDED] not in ("kind", "model")


def _placed(node: TreeNode | None, steps: list[Step], value: TreeNode, origin: SourceText) -> TreeNode:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    place = origin.at(1, step.column, step.width)
    if isinstance(step.name, int):
        node = cast("TreeNode", node)  # `locate` found the list and its element
        elements = list(cast("list[TreeNode]", node.parts))
        elements[step.name] = _placed(elements[step.name], rest, value, origin)
        return node.with_parts(elements)
    if node is None or not isinstance(node.parts, dict):
        node = TreeNode({}, place, {}, {})
    parts = cast("dict[str, TreeNode]", node.parts)
    part = _placed(parts.get(step.name), rest, value, origin)
    keys = {**(node.keys or {}), step.name: place}
    return node.with_parts({**parts, step.name: part})._replace(keys=keys)


def _refuse(place: Place, code: str, message: str, hint: str) -> NoReturn:
    raise RecipeInvalid(Problem.at(place, code, message, hint))
