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

from recipe_runner.version import __version__

if TYPE_CHECKING:
    from recipe_runner.api import (
        Locked,
        Plan,
        PlannedImage,
        Problem,
        Recipe,
        RecipeInvalid,
        RecipeRunnerError,
        Run,
        compile_recipe,
        fetch_recipe,
        load_recipe,
        lock_recipe,
        run_recipe,
    )

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
    if name in __all__:
        return getattr(import_module("recipe_runner.api"), name)
    message = f"module 'recipe_runner' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
