"""A recipe checked, resolved under its lock, and compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recipe_runner.document.document import Document
from recipe_runner.lock.compare import Use, frozen_pins, judge, no_lock, pins_of
from recipe_runner.lock.file import Lock, lock_beside, read_lock
from recipe_runner.plan.adapters.tokens import left_to_files, unused_tokens
from recipe_runner.plan.checks.preflight import check_pipelines
from recipe_runner.plan.compile import Plan, compile_plan
from recipe_runner.plan.resolve import resolve
from recipe_runner.plan.resolved import AnySource
from recipe_runner.plan.resolved_recipe import ResolvedRecipe
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.recipe.load import load_document
from recipe_runner.recipe.matrix import variants
from recipe_runner.sources.access import Access, Key, Meter, NoMeter, Pin, reach
from recipe_runner.sources.missing import Unresolved
from recipe_runner.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A recipe that was checked, resolved and compiled, with what was only worth a warning."""

    document: Document
    overrides: tuple[str, ...]
    plan: Plan
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How sources are found: whether what is missing is fetched, how the lock counts, and who is told meanwhile.

    `pins` are used where the recipe has no lock beside it.
    """

    network: bool = False
    pins: Mapping[Key, Pin] = field(default_factory=dict)
    lock: Use = "auto"
    meter: Meter = field(default_factory=NoMeter)


def prepare(path: str | Path, overrides: Sequence[str] = (), terms: Terms | None = None) -> Prepared:
    """Check, resolve and compile the recipe in the file `path`, under its lock where it has one.

    Nothing is fetched unless the terms say so, and then nothing before all that is on this machine was found right.

    Raises:
        RecipeRunnerError: it is no recipe, or what it names is broken, refused or does not fit, or is not what its lock
            names (E430 to E432).
    """
    terms = terms or Terms()
    loaded = load_document(path, overrides)
    document = loaded.document
    lock = read_lock(lock_beside(Path(document.source)))
    resolved = resolved_under(document, lock, terms)
    warnings = judge(lock, resolved.sources(), document, terms.lock)
    check_pipelines(document, resolved)
    plan = compile_plan(resolved)
    told = (*loaded.warnings, *unused_tokens(resolved, left_to_files(document)), *warnings)
    return Prepared(document=document, overrides=tuple(overrides), plan=plan, warnings=told)


def resolved_under(document: Document, lock: Lock | None, terms: Terms) -> ResolvedRecipe:
    """The recipe resolved under its lock; what is missing is fetched where the terms allow it."""
    if lock is None and terms.lock != "auto":
        raise ResolutionError(no_lock(document))
    pins = frozen_pins(lock, document) if lock and terms.lock == "frozen" else {**terms.pins, **pins_of(lock)}
    every = variants(document)
    with reach(Access(pins=pins, meter=terms.meter)):
        resolved = resolve(document, every)
    if not terms.network or all(isinstance(source, Source) for source in resolved.sources().values()):
        return resolved
    judge(lock, resolved.sources(), document, terms.lock)
    require_brought(resolved.sources())
    with reach(Access(network=True, pins=pins, meter=terms.meter)):
        return resolve(document, every)


def compile_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """The build graph and images of the recipe in the file `path`.

    Raises:
        RecipeRunnerError: it is no recipe, or what it names is broken, refused or does not fit. What is merely not on
            this machine makes a provisional plan.
    """
    return prepare(path, overrides).plan


def require_sources(plan: Plan, recipe: str) -> None:
    """Refuse a plan some of whose sources are not on this machine, with what brings them."""
    _refuse_missing(plan.sources(), f"`recipe-runner fetch {recipe}` fetches it")


def require_brought(sources: Mapping[str, AnySource]) -> None:
    """Refuse what is missing and no network brings, before anything is fetched for the rest."""
    brought = {role: source for role, source in sources.items() if isinstance(source, Unresolved)}
    _refuse_missing({role: source for role, source in brought.items() if not source.is_fetched}, "")


def _refuse_missing(sources: Mapping[str, AnySource], fetching: str) -> None:
    problems = [
        Problem(
            code=source.code,
            message=f"{role}: {source.reason}",
            hint=fetching if source.is_fetched else source.hint,
        )
        for role, source in sources.items()
        if isinstance(source, Unresolved)
    ]
    if problems:
        raise ResolutionError(*problems)
