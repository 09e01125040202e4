"""Make a valid recipe of another program's file: the entrance for the command line and for programs."""

from __future__ import annotations

from recipe_runner.document.document import parse_document
from recipe_runner.exchange.importers.generation import ImportRefused
from recipe_runner.exchange.importers.read import generation_of, texts_of
from recipe_runner.exchange.importers.recipe_runner_picture import own_recipe
from recipe_runner.exchange.importers.recipe_text import ImportContext, ImportedRecipe, recipe_of
from recipe_runner.problems.problem import Problem, RecipeRunnerError
from recipe_runner.recipe.load import problems_of


def import_bytes(data: bytes, source: str, context: ImportContext) -> ImportedRecipe:
    """The recipe of an image or text; `source` is its file's name.

    Raises:
        ImportRefused: E850 to E852 when the file does not say how an image was made, E853 when it holds neither a
            prompt nor settings, E854 when its recipe would not be valid.
    """
    texts = texts_of(data)
    recipe = own_recipe(texts or {}, source, context)
    if recipe is None:
        recipe = recipe_of(generation_of(data, texts), source, context)
    try:
        problems = problems_of(parse_document(recipe.text, source))
    except RecipeRunnerError as error:
        problems = error.problems
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        message = f"its recipe would not be valid: {errors[0].message}"
        raise ImportRefused(Problem(code="E854", message=message, hint=errors[0].hint))
    return recipe
