"""recipe_runner: a declarative YAML recipe runner for diffusion pipelines.

    >>> import recipe_runner
    >>> recipe = recipe_runner.load_recipe("recipes/quickstart.yaml")
    >>> plan = recipe_runner.compile_recipe("recipes/quickstart.yaml")
    >>> run = recipe_runner.run_recipe("recipes/quickstart.yaml")  # doctest: +SKIP

Importing it imports neither torch nor anything else that is slow; names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipe_runner.actions.run import Run
    from recipe_runner.api import Locked, compile_recipe, fetch_recipe, load_recipe, lock_recipe, run_recipe
    from recipe_runner.plan.compile import Plan, PlannedImage
    from recipe_runner.problems.problem import Problem, RecipeInvalid, RecipeRunnerError
    from recipe_runner.recipe.types.recipe import Recipe

__version__ = "0.1.0"

_HOMES = {
    "Locked": "api",
    "Plan": "plan.compile",
    "PlannedImage": "plan.compile",
    "Problem": "problems.problem",
    "Recipe": "recipe.types.recipe",
    "RecipeInvalid": "problems.problem",
    "RecipeRunnerError": "problems.problem",
    "Run": "actions.run",
    "compile_recipe": "api",
    "fetch_recipe": "api",
    "load_recipe": "api",
    "lock_recipe": "api",
    "run_recipe": "api",
}

__all__ = [
    "Locked",
    "Plan",
    "PlannedImage",
    "Problem",
    "Recipe",
    "RecipeInvalid",
    "RecipeRunnerError",
    "Run",
    "__version__",
    "compile_recipe",
    "fetch_recipe",
    "load_recipe",
    "lock_recipe",
    "run_recipe",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in _HOMES:
        return getattr(import_module(f"recipe_runner.{_HOMES[name]}"), name)
    message = f"module 'recipe_runner' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
