"""Change a model's configuration files, and ask what is found wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recipe_runner.plan.checks.configurations import check_base_configurations, check_vocabularies
from recipe_runner.plan.resolve_base import resolve_base
from recipe_runner.problems.place import NOWHERE
from recipe_runner.problems.problem import Problem, RecipeRunnerError
from recipe_runner.recipe.types.recipe import Base


def change(file: Path, **values: Any) -> None:
    """Write other values of some keys into a JSON file."""
    tree = json.loads(file.read_bytes())
    file.write_text(json.dumps(tree | values, indent=2))


def problems_of(model: Path, **base: Any) -> tuple[Problem, ...]:
    """What is found wrong with a base while it is resolved and its files are looked into."""
    wanted = Base.model_validate({"model": str(model), **base})
    try:
        found = resolve_base(wanted, model.parent, NOWHERE, allow_pickle=False)
        check_base_configurations(found)
        check_vocabularies(found)
    except RecipeRunnerError as error:
        return error.problems
    return ()
