"""The recipes in `tests/recipes`, and how each is told: a first line `# --set path=value` is an override."""

from __future__ import annotations

from pathlib import Path

from recipe_runner.document.document import parse_document
from recipe_runner.problems.problem import Problem, RecipeRunnerError
from recipe_runner.recipe.load import problems_of, problems_with_rest
from recipe_runner.report.terminal.problems import problem_text

RECIPES = Path(__file__).parents[1] / "recipes"
INVALID = sorted((RECIPES / "invalid").glob("*.yaml"))
VALID = sorted((RECIPES / "valid").glob("*.yaml"))
_SET = b"# --set "


def problems_of_case(path: Path) -> tuple[Problem, ...]:
    """Every problem of a case, with the path relative to `tests/recipes`."""
    data = path.read_bytes()
    first = data.partition(b"\n")[0]
    overrides = [first.removeprefix(_SET).decode()] if first.startswith(_SET) else []
    try:
        return problems_of(parse_document(data, path.relative_to(RECIPES).as_posix()).with_overrides(overrides))
    except RecipeRunnerError as error:
        return problems_with_rest(error, overrides)


def told(path: Path) -> str:
    """The whole text that a person sees."""
    return "\n".join(problem_text(problem) for problem in problems_of_case(path))


if __name__ == "__main__":
    for case in INVALID:
        case.with_suffix(".txt").write_text(told(case), encoding="utf-8")
