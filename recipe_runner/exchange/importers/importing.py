"""A foreign file to a valid recipe: the one way in for the command line and for programs."""

from __future__ import annotations

from recipe_runner.document.document import parse_document
from recipe_runner.exchange.importers.generation import ImportRefused
from recipe_runner.exchange.importers.read import generation_of, texts_of
from recipe_runner.exchange.importers.recipe_runner_picture import own_recipe
from recipe_runner.exchange.importers.recipe_text import ImportedRecipe, Surroundings, recipe_of
from recipe_runner.problems.problem import Problem, RecipeRunnerError
from recipe_runner.recipe.load import problems_of


def import_bytes(data: bytes, source: str, surroundings: Surroundings) -> ImportedRecipe:
    """The recipe of a picture or text; `source` is its file's name.

    Raises:
        ImportRefused: E850 to E852 when it says nothing that is understood, E853 when that makes no recipe, E854 when
            the recipe would not be valid.
    """
    texts = texts_of(data)
    recipe = own_recipe(texts or {}, source, surroundings) or recipe_of(
        generation_of(data, texts), source, surroundings
    )
    try:
        problems = problems_of(parse_document(recipe.text, source))
    except RecipeRunnerError as error:
        problems = error.problems
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        message = f"what it says makes no valid recipe: {errors[0].message}"
        raise ImportRefused(Problem(code="E854", message=message, hint=errors[0].hint))
    return recipe
