"""The Python interface: load, compile, lock, fetch and run recipes."""

from __future__ import annotations

from recipe_runner.actions.export_adapter import export_adapter
from recipe_runner.actions.fetch import fetch_recipe
from recipe_runner.actions.lock import Locked, lock_recipe
from recipe_runner.actions.prepare import Prepared, PrepareOptions, compile_recipe, prepare
from recipe_runner.actions.run import Run, run_recipe
from recipe_runner.plan.compile import Plan, PlannedImage
from recipe_runner.problems.problem import Problem, RecipeInvalid, RecipeRunnerError
from recipe_runner.recipe.load import load_recipe
from recipe_runner.recipe.types.recipe import Recipe

__all__ = [
    "Locked",
    "Plan",
    "PlannedImage",
    "PrepareOptions",
    "Prepared",
    "Problem",
    "Recipe",
    "RecipeInvalid",
    "RecipeRunnerError",
    "Run",
    "compile_recipe",
    "export_adapter",
    "fetch_recipe",
    "load_recipe",
    "lock_recipe",
    "prepare",
    "run_recipe",
]
