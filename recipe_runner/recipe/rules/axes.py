"""Rules for the matrix: each axis is a path of the recipe, and its values are allowed there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recipe_runner.canonical import canonical, elements, mapping
from recipe_runner.document.paths import PathNotFoundError, PathSyntaxError, format_path, locate, parse_path, replaced
from recipe_runner.problems.suggest import did_you_mean
from recipe_runner.problems.wording import shown
from recipe_runner.recipe.finding import Finding
from recipe_runner.recipe.rules.prompts import count_images
from recipe_runner.recipe.schema.check import RECIPE, load_schema, part_validator
from recipe_runner.recipe.schema.messages import explanations
from recipe_runner.recipe.schema.subschema import NoSuchPartError, schema_at

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.paths import RecipePath

UNVARIED = ("recipe", "name", "description", "matrix", "runtime")
"""Sections that are the same for the whole run: an axis over them would not change an image."""
DEFAULT_MOST_IMAGES = 10_000
MOST_AXES = 100


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis that is a path of the recipe, with the index of each value that the schema allows there."""

    text: str
    path: RecipePath
    values: Sequence[tuple[int, Json]]


def read_axes(tree: Mapping[str, Json]) -> tuple[list[Axis], list[Finding]]:
    """The axes of a recipe, and their problems: E305 to E308, W332."""
    axes: list[Axis] = []
    findings: list[Finding] = []
    matrix = mapping(tree.get("matrix"))
    if len(matrix) > MOST_AXES:
        message = f"the matrix has {len(matrix)} axes; at most {MOST_AXES} are allowed"
        return [], [Finding("E309", message, ("matrix",), "Delete some axes.", key=True)]
    for text, values in matrix.items():
        path = _axis_path(tree, text)
        if isinstance(path, Finding):
            findings.append(path)
            continue
        collision = _collision(axes, text, path)
        if collision is not None:
            findings.append(collision)
            continue
        allowed, wrong = _values(tree, text, path, elements(values))
        findings.extend(wrong)
        axes.append(Axis(text, path, allowed))
    return axes, findings


def _axis_path(tree: Mapping[str, Json], text: str) -> RecipePath | Finding:
    """The path of an axis, or what is wrong with it."""
    here: RecipePath = ("matrix", text)
    try:
        path = locate(tree, parse_path(text))
    except PathSyntaxError as error:
        hint = "An axis is a path, such as `sampling.guidance_scale` or `prompts[0].prompt`."
        return Finding("E305", f"`{shown(text)}` is not a valid path: {error}", here, hint, key=True)
    except PathNotFoundError as error:
        return Finding("E305", str(error), here, did_you_mean(str(error.step.name), error.known), key=True)
    adapters = mapping(tree.get("adapters"))
    if path[0] == "adapters" and len(path) > 1 and path[1] not in adapters:
        hint = did_you_mean(str(path[1]), adapters, "Adapters")
        return Finding("E305", f"no adapter is called `{shown(path[1])}`", here, hint, key=True)
    try:
        schema_at(load_schema(RECIPE), tree, path)
    except NoSuchPartError as error:
        return _unknown(path, text, error)
    if path[0] in UNVARIED:
        hint = "Axes can vary base, adapters, prompts, seeds, sampling and output."
        return Finding("E308", f"`{path[0]}` is the same for all variants", here, hint, key=True)
    return path


def _unknown(path: RecipePath, text: str, error: NoSuchPartError) -> Finding:
    place = "a recipe"
    if error.depth:
        place = f"`{format_path(path[: error.depth])}`"
    message = f"{place} has no key `{shown(path[error.depth])}`"
    hint = did_you_mean(str(path[error.depth]), error.known, "It has")
    return Finding("E305", message, ("matrix", text), hint, key=True)


def _collision(axes: Sequence[Axis], text: str, path: RecipePath) -> Finding | None:
    """E307 when an axis sets the same value as an earlier one, or a part of it."""
    for other in axes:
        shorter = min(len(path), len(other.path))
        if path[:shorter] != other.path[:shorter]:
            continue
        relation = "are the same path" if path == other.path else "are one inside the other"
        message = f"the axes `{other.text}` and `{shown(text)}` {relation}"
        return Finding("E307", message, ("matrix", text), "Make them one axis.", key=True)
    return None


def _values(
    tree: Mapping[str, Json], text: str, path: RecipePath, values: Sequence[Json]
) -> tuple[list[tuple[int, Json]], list[Finding]]:
    """The values that the schema allows at the path of an axis, and the problems of all values."""
    part = part_validator(schema_at(load_schema(RECIPE), tree, path))
    allowed: list[tuple[int, Json]] = []
    findings: list[Finding] = []
    first: dict[object, int] = {}
    for index, value in enumerate(values):
        wrong = list(explanations(part.iter_errors(value), path))
        here = ("matrix", text, index)
        for finding in wrong:
            rest = finding.path[len(path) :]
            is_key = finding.key and len(rest) > 0
            findings.append(Finding("E306", finding.message, (*here, *rest), finding.hint, key=is_key))
        if not wrong:
            allowed.append((index, value))
        same = _comparable(value)
        if same in first:
            message = f"duplicate value on the axis `{shown(text)}` (also at position {first[same] + 1})"
            findings.append(Finding("W332", message, here, "Delete one of the two.", severity="warning"))
        first.setdefault(same, index)
    return allowed, findings


def _comparable(value: Json) -> object:
    """Equal for values that make the same image: for 5 and 5.0, but not for true and 1."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number", value
    return canonical(value)


def too_many(tree: Mapping[str, Json], axes: Sequence[Axis]) -> Iterator[Finding]:
    """E309: the recipe does not make more images than `runtime.max_images`."""
    limit = mapping(tree.get("runtime")).get("max_images", DEFAULT_MOST_IMAGES)
    if not isinstance(limit, int) or isinstance(limit, bool):
        return
    counting = [axis for axis in axes if axis.path[0] in ("seeds", "prompts")]
    count = _counted(tree, counting)
    for axis in axes:
        if axis not in counting:
            count *= max(1, len(axis.values))
    if count > limit:
        message = f"the recipe makes {count:,} images; `runtime.max_images` allows {limit:,}"
        hint = f"Make fewer images, or set `runtime.max_images: {count}`."
        yield Finding("E309", message, (_multiplier(tree, axes),), hint, key=True)


def _multiplier(tree: Mapping[str, Json], axes: Sequence[Axis]) -> str:
    """The section to change for fewer images."""
    if axes:
        return "matrix"
    if "seeds" in tree:
        return "seeds"
    return "prompts"


def _counted(tree: Json, axes: Sequence[Axis]) -> int:
    """The number of images of all combinations of axes over seeds and prompts."""
    if not axes:
        return count_images(mapping(tree))
    first, rest = axes[0], axes[1:]
    if len(first.path) > 1 and first.path[0] == "prompts":
        # The contents of a prompt do not change the number of images.
        return max(1, len(first.values)) * _counted(tree, rest)
    return sum(_counted(replaced(tree, first.path, value), rest) for _, value in first.values)
