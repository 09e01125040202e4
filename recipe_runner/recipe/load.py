"""Recipes from files: read, override, check. The one way in for the command line and the Python API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recipe_runner.document.document import Document, parse_document
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeInvalid, RecipeRunnerError, RecipeSyntaxError
from recipe_runner.problems.suggest import nearest
from recipe_runner.recipe.rules import check_rules
from recipe_runner.recipe.schema.check import check_recipe, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recipe_runner.recipe.types.recipe import Recipe


class Loaded(NamedTuple):
    """A recipe without errors, and the warnings about it."""

    document: Document
    warnings: tuple[Problem, ...] = ()


def read_document(path: Path | str, overrides: Sequence[str] = ()) -> Document:
    """Read a recipe file and apply overrides; its contents are not checked.

    Raises:
        RecipeSyntaxError: the text is not YAML.
        RecipeInvalid: the file cannot be read, or an override does not apply.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = _beside(Path(path)) if isinstance(error, FileNotFoundError) else ""
        problem = Problem(
            code="E118", message=f"cannot read the recipe: {reason}", place=Place(str(path), 1, 1), hint=hint
        )
        raise RecipeInvalid(problem) from error
    return parse_document(data, str(path)).with_overrides(overrides)


def _beside(path: Path) -> str:
    """The recipe that is probably meant by a path that leads nowhere."""
    try:
        names = sorted(other.name for other in path.parent.iterdir() if other.suffix in (".yaml", ".yml"))
    except OSError:
        return ""
    meant = nearest(path.name, [name for name in names if not name.endswith(".lock.yaml")])
    return f"Did you mean `{path.with_name(meant)}`?" if meant else ""


def problems_of(document: Document) -> tuple[Problem, ...]:
    """Every problem of a recipe, warnings among them, in the order of the text.

    Rules between fields are checked wherever the shape is right, so that one run tells everything.
    """
    shape = check_recipe(document)
    return in_order([*shape, *check_rules(document)])


def problems_with_rest(error: RecipeRunnerError, overrides: Sequence[str] = ()) -> tuple[Problem, ...]:
    """The problems of an error; where a text could be read but for single values, those of the rest as well.

    What the rest gets wrong on the line of such a value may only follow from it, and waits.
    """
    if not isinstance(error, RecipeSyntaxError) or not isinstance(error.rest, Document):
        return error.problems
    try:
        document = error.rest.with_overrides(overrides)
    except RecipeRunnerError as other:
        return (*error.problems, *other.problems)
    lines = {problem.line for problem in error.problems}
    return in_order([*error.problems, *(other for other in problems_of(document) if other.line not in lines)])


def load_document(source: Path | str, overrides: Sequence[str] = ()) -> Loaded:
    """Read a recipe file (or, where `source` has several lines, a recipe's text), apply overrides and check it.

    Raises:
        RecipeSyntaxError: the text is not YAML.
        RecipeInvalid: with all errors and warnings.
    """
    try:
        if isinstance(source, str) and "\n" in source:
            document = parse_document(source, "<text>").with_overrides(overrides)
        else:
            document = read_document(source, overrides)
    except RecipeSyntaxError as error:
        raise RecipeSyntaxError(*problems_with_rest(error, overrides)) from error
    problems = problems_of(document)
    if any(problem.severity == "error" for problem in problems):
        raise RecipeInvalid(*problems)
    return Loaded(document, problems)


def find_problems(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    further: Callable[[Document], Sequence[Problem]] = lambda _: (),
) -> tuple[Problem, ...]:
    """Every problem of a recipe file, and what `further` says of it; none are raised."""
    try:
        document = read_document(path, overrides)
        return (*problems_of(document), *further(document))
    except RecipeRunnerError as error:
        return problems_with_rest(error, overrides)


def load_recipe(source: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """A checked recipe as typed values.

    Raises:
        RecipeSyntaxError: the text is not YAML.
        RecipeInvalid: with all problems.
    """
    # Here and not above: `validate` needs no pydantic, which takes longer to import than everything else it does.
    from recipe_runner.recipe.types.recipe import Recipe  # noqa: PLC0415

    return Recipe.model_validate(load_document(source, overrides).document.tree)
