"""The overrides that reduce a recipe to one of its images."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from recipe_runner.document.paths import prompt_id
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeInvalid
from recipe_runner.problems.suggest import did_you_mean
from recipe_runner.recipe.matrix import variants

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.document import Document
    from recipe_runner.plan.compile import Plan

_LISTS = ("prompts", "seeds")
"""Sections that are reduced to the image's own element, with the values that axes set in it."""
_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def only_overrides(document: Document, plan: Plan, name: str) -> tuple[str, ...]:
    """The overrides of a checked recipe that leave only the image whose file is called `name`.

    The axes stay, each with the image's value, so that the image keeps its variant.

    Raises:
        RecipeInvalid: E832 the plan has no such image.
    """
    wanted = name.removeprefix("images/")
    images = {image.path: image for image in plan.images}
    if wanted not in images:
        message = f"the recipe makes no image called {wanted}"
        hint = did_you_mean(wanted, list(images)) or "`recipe-runner plan RECIPE --verbose` lists the images."
        raise RecipeInvalid(Problem(code="E832", message=message, place=Place(document.source), hint=hint))
    image = images[wanted]
    variant = variants(document)[image.variant]
    prompts = cast("Sequence[Mapping[str, Json]]", variant.tree["prompts"])
    prompt = next(entry for index, entry in enumerate(prompts) if prompt_id(entry, index) == image.prompt)
    overrides = [f"prompts={_flow([{**prompt, 'id': image.prompt}])}", f"seeds=[{image.seed}]"]
    if variant.values:
        axes: dict[str, Json] = {}
        for axis, value in variant.values.items():
            if re.split(r"[.\[]", axis)[0] not in _LISTS:
                axes[axis] = [value]
        overrides.insert(0, f"matrix={_flow(axes)}")
    return tuple(overrides)


def _flow(value: Json) -> str:
    """A value as JSON; with YAML's other line breaks escaped, YAML reads it the same."""
    text = json.dumps(value, ensure_ascii=False)
    return _UNSEEN.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
