"""Load recipes: read, override and check, for the command line and the Python API."""

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
    """A recipe without errors, and its warnings."""

    document: Document
    warnings: tuple[Problem, ...] = ()


def read_document(path: Path | str, overrides: Sequence[str] = ()) -> Document:
    """Read a recipe file and apply overrides, without checks of the contents.

    Raises:
        RecipeSyntaxError: the text is not YAML.
        RecipeInvalid: the file cannot be read, or an override does not apply.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = ""
        if isinstance(error, FileNotFoundError):
            hint = _beside(Path(path))
        place = Place(str(path), 1, 1)
        raise RecipeInvalid(Problem.at(place, "E118", f"cannot read the recipe: {reason}", hint)) from error
    return parse_document(data, str(path)).with_overrides(overrides)


def _beside(path: Path) -> str:
    """A hint with the most similar recipe in the folder of a path that does not exist."""
    try:
        names = sorted(other.name for other in path.parent.iterdir() if _is_recipe(other))
    except OSError:
        return ""
    meant = nearest(path.name, names)
    if meant is None:
        return ""
    return f"Did you mean `{path.with_name(meant)}`?"


def _is_recipe(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") and not path.name.endswith(".lock.yaml")


def problems_of(document: Document) -> tuple[Problem, ...]:
    """All problems of a recipe, including warnings, in the order of the text.

    The rules are also checked when other parts of the recipe have the wrong shape, so that one run reports everything.
    """
    shape = check_recipe(document)
    return in_order([*shape, *check_rules(document)])


def problems_with_rest(error: RecipeRunnerError, overrides: Sequence[str] = ()) -> tuple[Problem, ...]:
    """The problems of an error; when only single values are unreadable, also those of the other values.

    Problems on the line of an unreadable value are left out, because they may only follow from it.
    """
    if not isinstance(error, RecipeSyntaxError) or not isinstance(error.rest, Document):
        return error.problems
    try:
        document = error.rest.with_overrides(overrides)
    except RecipeRunnerError as other:
        return (*error.problems, *other.problems)
    lines = {problem.line for problem in error.problems}
    others = [other for other in problems_of(document) if other.line not in lines]
    return in_order([*error.problems, *others])


def load_document(source: Path | str, overrides: Sequence[str] = ()) -> Loaded:
    """Read a recipe file (or the text of a recipe, when `source` has several lines), apply overrides and check it.

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
    """All problems of a recipe file, including those that `further` finds. Raises none of them."""
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
    # Imported here because `validate` needs no pydantic, whose import takes longer than the whole command.
    from recipe_runner.recipe.types.recipe import Recipe  # noqa: PLC0415

    return Recipe.model_validate(load_document(source, overrides).document.tree)
