"""Overrides: `path=value`, as `--set` takes them, applied to a document's tree with marks that point at the option."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn, cast

from recipe_runner.document.paths import PathNotFoundError, PathSyntaxError, Step, locate, parse_path
from recipe_runner.document.text import SourceText, read_text
from recipe_runner.document.tree import TreeNode, read_nodes
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeInvalid, RecipeSyntaxError
from recipe_runner.problems.suggest import did_you_mean

SOURCE = "--set"
"""What stands for the file's name in problems of an override."""
_ADDED = 2
"""Where a path into an adapter has the adapter's own key."""
_EXAMPLE = "An override is path=value, such as sampling.guidance_scale=5."


def override(root: TreeNode, text: str) -> TreeNode:
    """`root` with the override `text` applied; parts that it does not touch are shared.

    Raises:
        RecipeInvalid: E301 (no override), E302 (a path that leads nowhere), E303 (a value that is not YAML).
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
        hint = "The value is YAML: put a text with special characters in quotes, inside the shell's own."
        raise RecipeInvalid(
            *(replace(p, code="E303", hint=hint) if p.code in ("E104", "E105") else p for p in error.problems)
        ) from error
    if value is None:
        value = TreeNode(None, origin.at(1, shift))
    return _placed(root, steps, value, origin)


def _steps(root: TreeNode, origin: SourceText, text: str) -> list[Step]:
    try:
        steps = parse_path(text)
    except PathSyntaxError as error:
        _refuse(origin.at(1, error.column), "E301", f"`{text}` is no path: {error}", _EXAMPLE)
    try:
        path = locate(root.value, steps)
    except PathNotFoundError as error:
        names = did_you_mean(str(error.step.name), error.known)
        _refuse(origin.at(1, error.step.column, error.step.width), "E302", str(error), names)
    adapters = root.value.get("adapters") if isinstance(root.value, dict) else None
    # One that is added is told its kind or model first; any other part of one that is not there is a slip.
    added = path[:1] == ("adapters",) and len(path) > _ADDED and path[_ADDED] in ("kind", "model")
    if path[:1] == ("adapters",) and adapters and len(path) > _ADDED and path[1] not in adapters and not added:
        step, hint = steps[1], did_you_mean(str(path[1]), adapters)
        _refuse(origin.at(1, step.column, step.width), "E302", f"no adapter is called `{path[1]}`", hint)
    return [replace(step, name=segment) for step, segment in zip(steps, path, strict=True)]


def _placed(node: TreeNode | None, steps: list[Step], value: TreeNode, origin: SourceText) -> TreeNode:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    place = origin.at(1, step.column, step.width)
    if isinstance(step.name, int):
        node = cast("TreeNode", node)  # `locate` found the list and its element
        elements = list(cast("list[TreeNode]", node.parts))
        elements[step.name] = _placed(elements[step.name], rest, value, origin)
        return node._replace(value=[element.value for element in elements], parts=elements)
    if node is None or not isinstance(node.parts, dict):
        node = TreeNode({}, place, {}, {})
    parts = dict(node.parts) if isinstance(node.parts, dict) else {}
    parts[step.name] = _placed(parts.get(step.name), rest, value, origin)
    keys = {**(node.keys or {}), step.name: place}
    return node._replace(value={name: part.value for name, part in parts.items()}, parts=parts, keys=keys)


def _refuse(place: Place, code: str, message: str, hint: str) -> NoReturn:
    raise RecipeInvalid(Problem.at(place, code, message, hint))
