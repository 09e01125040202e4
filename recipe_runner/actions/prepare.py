"""A recipe checked, resolved under its lock, and compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recipe_runner.document.document import Document
from recipe_runner.lock.compare import Use, check_against_lock, frozen_pins, no_lock, pins_of
from recipe_runner.lock.file import Lock, lock_beside, read_lock
from recipe_runner.plan.adapters.tokens import left_to_files, unused_tokens
from recipe_runner.plan.checks.preflight import check_pipelines
from recipe_runner.plan.compile import Plan, compile_plan
from recipe_runner.plan.resolve import resolve
from recipe_runner.plan.resolved_base import AnySource
from recipe_runner.plan.resolved_recipe import ResolvedRecipe
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.recipe.load import load_document
from recipe_runner.recipe.matrix import variants
from recipe_runner.sources.access import Access, Key, Meter, NoMeter, Pin, reach
from recipe_runner.sources.missing import Unresolved


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A recipe that was checked, resolved and compiled, with its warnings."""

    document: Document
    overrides: tuple[str, ...]
    plan: Plan
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """How sources are found: whether missing ones are fetched, how the lock is used, and where progress is reported.

    `pins` are used if the recipe has no lock beside it.
    """

    network: bool = False
    pins: Mapping[Key, Pin] = field(default_factory=dict)
    lock: Use = "auto"
    meter: Meter = field(default_factory=NoMeter)


def prepare(path: str | Path, overrides: Sequence[str] = (), options: PrepareOptions | None = None) -> Prepared:
    """Check, resolve and compile the recipe in the file `path`, with its lock if it has one.

    Nothing is fetched unless the options allow it, and only after everything on this machine was found valid.

    Raises:
        RecipeRunnerError: it is not a recipe, or a source is broken, refused, does not fit, or differs from the lock
            (E430 to E432).
    """
    options = options or PrepareOptions()
    loaded = load_document(path, overrides)
    document = loaded.document
    lock = read_lock(lock_beside(Path(document.source)))
    resolved = resolved_under(document, lock, options)
    lock_warnings = check_against_lock(lock, resolved.sources(), document, options.lock)
    check_pipelines(document, resolved)
    plan = compile_plan(resolved)
    warnings = (*loaded.warnings, *unused_tokens(resolved, left_to_files(document)), *lock_warnings)
    return Prepared(document=document, overrides=tuple(overrides), plan=plan, warnings=warnings)


def resolved_under(document: Document, lock: Lock | None, options: PrepareOptions) -> ResolvedRecipe:
    """The recipe resolved with its lock; missing sources are fetched if the options allow it."""
    if lock is None and options.lock != "auto":
        raise ResolutionError(no_lock(document))
    pins = {**options.pins, **pins_of(lock)}
    if lock and options.lock == "frozen":
        pins = dict(frozen_pins(lock, document))
    every = variants(document)
    with reach(Access(pins=pins, meter=options.meter)):
        resolved = resolve(document, every)
    if not options.network or resolved.is_complete:
        return resolved
    check_against_lock(lock, resolved.sources(), document, options.lock)
    require_brought(resolved.sources())
    with reach(Access(network=True, pins=pins, meter=options.meter)):
        return resolve(document, every)


def compile_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """The build graph and images of the recipe in the file `path`.

    Raises:
        RecipeRunnerError: it is not a recipe, or a source is broken, refused or does not fit. A source that is not on
            this machine only makes the plan provisional.
    """
    return prepare(path, overrides).plan


def require_sources(plan: Plan, recipe: str) -> None:
    """Refuse a plan with sources that are not on this machine, and say how to get them."""
    _refuse_missing(plan.sources(), f"`recipe-runner fetch {recipe}` fetches it")


def require_brought(sources: Mapping[str, AnySource]) -> None:
    """Refuse missing sources that cannot be fetched, before anything is fetched for the others."""
    missing = {role: source for role, source in sources.items() if isinstance(source, Unresolved)}
    _refuse_missing({role: source for role, source in missing.items() if not source.is_fetched}, "")


def _refuse_missing(sources: Mapping[str, AnySource], fetching: str) -> None:
    problems = []
    for role, source in sources.items():
        if isinstance(source, Unresolved):
            hint = source.problem.hint
            if source.is_fetched:
                hint = fetching
            problems.append(Problem(code=source.problem.code, message=f"{role}: {source.problem.message}", hint=hint))
    if problems:
        raise ResolutionError(*problems)
