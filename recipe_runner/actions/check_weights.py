"""Check everything about a recipe that its files show without a GPU: `validate --weights`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from recipe_runner.document import paths
from recipe_runner.document.document import Document
from recipe_runner.lock.compare import pins_of
from recipe_runner.lock.file import lock_beside, read_lock
from recipe_runner.plan.adapters.tokens import left_to_files, unused_tokens
from recipe_runner.plan.checks.configurations import check_vocabularies
from recipe_runner.plan.checks.preflight import check_pipelines, fit_warnings
from recipe_runner.plan.resolve import resolve
from recipe_runner.plan.resolved_recipe import ResolvedRecipe
from recipe_runner.problems.problem import Problem, RecipeRunnerError, at
from recipe_runner.recipe.load import read_document
from recipe_runner.recipe.matrix import variants
from recipe_runner.recipe.valid_part import checkable
from recipe_runner.sources.access import Access, reach
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.digests import unhashed
from recipe_runner.weights.files.header import remembered_headers


def weights_problems(
    path: Path, overrides: Sequence[str] = (), *, network: bool = False, valid: bool = True
) -> tuple[Problem, ...]:
    """Every problem of a recipe's base and adapters that headers show; no contents are read, no plan is made.

    With `network`, missing headers are fetched, after everything on this machine was found valid. For a recipe that is
    not `valid`, only the parts that do not depend on its mistakes are checked, and only errors are returned, because a
    warning may result from a mistake.
    """
    document = read_document(path, overrides)
    if not valid:
        valid_part = checkable(document)
        if valid_part is None:
            return ()
        found = _found(path, valid_part, network=network)
        return tuple(problem for problem in found if problem.severity == "error")
    return _found(path, document, network=network)


def _found(path: Path, document: Document, *, network: bool) -> tuple[Problem, ...]:
    try:
        pins = pins_of(read_lock(lock_beside(path)))
        with unhashed(), remembered_headers():
            with reach(Access(pins=pins)):
                resolved = resolve(document, variants(document))
            if network and not resolved.is_complete:
                with reach(Access(pins=pins, network=True, headers=True)):
                    resolved = resolve(document, variants(document))
            check_pipelines(document, resolved)
            _check_vocabularies(resolved)
            unused = unused_tokens(resolved, left_to_files(document))
            return (*unused, *fit_warnings(resolved), *_unchecked(document, resolved))
    except RecipeRunnerError as error:
        return error.problems


def _check_vocabularies(resolved: ResolvedRecipe) -> None:
    """Raise E517 if a tokenizer has more tokens than its text encoder has embeddings."""
    for base in resolved.bases():
        with at(base.origin):
            check_vocabularies(base)


def _unchecked(document: Document, resolved: ResolvedRecipe) -> Iterator[Problem]:
    """W762 for every source that is not on this machine and so was not checked."""
    for role, source in resolved.sources().items():
        if isinstance(source, Source):
            continue
        message = f"{role} was not checked: {source.problem.message}"
        yield document.problem("W762", message, _place(document, role), source.problem.hint, severity="warning")


def _place(document: Document, role: str) -> paths.RecipePath:
    """The path in the recipe of the source with this role, or the nearest known path."""
    if role == "base":
        return ("base", "model")
    steps = paths.parse_path(role.partition("#")[0])
    try:
        return paths.locate(document.tree, steps)
    except paths.PathNotFoundError as error:
        # An axis of the matrix sets it.
        return tuple(step.name for step in steps[: steps.index(error.step)])
