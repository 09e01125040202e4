"""Rules about the matrix: each axis is a path of the recipe, and each value may stand there."""

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
"""Sections that a run has one of: an axis over them would not make other images."""
DEFAULT_MOST_IMAGES = 10_000
MOST_AXES = 100


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis that is a path of the recipe, with those of its values that the schema allows there."""

    text: str
    path: RecipePath
    values: Sequence[tuple[int, Json]]


def read_axes(tree: Mapping[str, Json]) -> tuple[list[Axis], list[Finding]]:
    """The axes of a recipe, and what is wrong with them: E305 to E308, W332."""
    axes: list[Axis] = []
    findings: list[Finding] = []
    matrix = mapping(tree.get("matrix"))
    if len(matrix) > MOST_AXES:
        message = f"the matrix has {len(matrix)} axes; at most {MOST_AXES} are allowed"
        return [], [Finding("E309", message, ("matrix",), "Make fewer.", key=True)]
    for text, values in matrix.items():
        path, problem = _axis_path(tree, text)
        if path is None or problem is not None:
            findings.extend([problem] if problem else [])
            continue
        other = next((axis for axis in axes if _collide(axis.path, path)), None)
        if other is not None:
            same = other.path == path
            what = "are the same path" if same else "are one inside the other"
            message = f"the axes `{other.text}` and `{shown(text)}` {what}"
            findings.append(Finding("E307", message, ("matrix", text), "Make them one axis.", key=True))
            continue
        allowed, wrong = _values(tree, text, path, elements(values))
        findings.extend(wrong)
        axes.append(Axis(text, path, allowed))
    return axes, findings


def _axis_path(tree: Mapping[str, Json], text: str) -> tuple[RecipePath | None, Finding | None]:
    here: RecipePath = ("matrix", text)
    try:
        path = locate(tree, parse_path(text))
        adapters = mapping(tree.get("adapters"))
        if path[0] == "adapters" and len(path) > 1 and path[1] not in adapters:
            message = f"no adapter is called `{shown(path[1])}`"
            return None, Finding("E305", message, here, did_you_mean(str(path[1]), adapters, "Adapters"), key=True)
        schema_at(load_schema(RECIPE), tree, path)
    except PathSyntaxError as error:
        hint = "An axis is a path, such as `sampling.guidance_scale` or `prompts[0].prompt`."
        return None, Finding("E305", f"`{shown(text)}` is no path: {error}", here, hint, key=True)
    except PathNotFoundError as error:
        return None, Finding("E305", str(error), here, did_you_mean(str(error.step.name), error.known), key=True)
    except NoSuchPartError as error:
        return None, _unknown(tree, text, error)
    if path[0] in UNVARIED:
        hint = "Axes vary what is drawn: base, adapters, prompts, seeds, sampling, output."
        return None, Finding("E308", f"`{path[0]}` is the same for all variants", here, hint, key=True)
    return path, None


def _unknown(tree: Mapping[str, Json], text: str, error: NoSuchPartError) -> Finding:
    path = locate(tree, parse_path(text))
    place = f"`{format_path(path[: error.depth])}`" if error.depth else "a recipe"
    message = f"{place} has no key `{shown(path[error.depth])}`"
    hint = did_you_mean(str(path[error.depth]), error.known, "It has")
    return Finding("E305", message, ("matrix", text), hint, key=True)


def _collide(one: RecipePath, other: RecipePath) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _values(
    tree: Mapping[str, Json], text: str, path: RecipePath, values: Sequence[Json]
) -> tuple[list[tuple[int, Json]], list[Finding]]:
    part = part_validator(schema_at(load_schema(RECIPE), tree, path))
    allowed: list[tuple[int, Json]] = []
    findings: list[Finding] = []
    first: dict[object, int] = {}
    for index, value in enumerate(values):
        wrong = list(explanations(part.iter_errors(value), path))
        for finding in wrong:
            place = ("matrix", text, index, *finding.path[len(path) :])
            findings.append(Finding("E306", finding.message, place, finding.hint, key=finding.key and len(place) > 3))  # noqa: PLR2004
        if not wrong:
            allowed.append((index, value))
        # 5 and 5.0 make the same image; true and 1 do not.
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        same: object = ("number", value) if number else canonical(value)
        if same in first:
            message = f"the axis `{shown(text)}` has this value already, at place {first[same] + 1}"
            place = ("matrix", text, index)
            findings.append(Finding("W332", message, place, "Delete one of the two.", severity="warning"))
        first.setdefault(same, index)
    return allowed, findings


def too_many(tree: Mapping[str, Json], axes: Sequence[Axis]) -> Iterator[Finding]:
    """E309: the recipe makes no more images than it allows."""
    limit = mapping(tree.get("runtime")).get("max_images", DEFAULT_MOST_IMAGES)
    if not isinstance(limit, int) or isinstance(limit, bool):
        return
    counting = [axis for axis in axes if axis.path[0] in ("seeds", "prompts")]
    factor = 1
    for axis in axes:
        factor *= 1 if axis in counting else max(1, len(axis.values))
    count = factor * _counted(tree, counting)
    if count > limit:
        path: RecipePath = ("matrix",) if axes else ("seeds",) if "seeds" in tree else ("prompts",)
        message = f"the recipe makes {count:,} images; `runtime.max_images` allows {limit:,}"
        yield Finding("E309", message, path, f"Make fewer, or set `runtime.max_images: {count}`.", key=True)


def _counted(tree: Json, axes: Sequence[Axis]) -> int:
    """Images of all combinations of the axes that change how many there are."""
    if not axes:
        return count_images(mapping(tree))
    first, rest = axes[0], axes[1:]
    if len(first.path) > 1 and first.path[0] == "prompts":
        # What a prompt says does not change how many there are.
        return max(1, len(first.values)) * _counted(tree, rest)
    return sum(_counted(replaced(tree, first.path, value), rest) for _, value in first.values)
