"""The Python interface: load, compile and run a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.actions.export_adapter import Export, export
from recipe_runner.actions.run import Run, execute_plan, require_brought, require_sources
from recipe_runner.disk.atomic import write_if_changed
from recipe_runner.document.document import Document
from recipe_runner.lock.compare import Use, changes, entries_named, frozen_pins, judge, make_lock, no_lock, pins_of
from recipe_runner.lock.fetch import fetch_locked
from recipe_runner.lock.file import Lock, LockedFile, lock_beside, lock_text, read_lock
from recipe_runner.plan.adapters.tokens import left_to_files, unused_tokens
from recipe_runner.plan.checks.preflight import check_pipelines
from recipe_runner.plan.compile import Plan, compile_plan
from recipe_runner.plan.resolve import resolve
from recipe_runner.plan.resolved import ResolvedRecipe
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.recipe import load
from recipe_runner.recipe.matrix import variants
from recipe_runner.report.terminal.progress import Progress, Quiet
from recipe_runner.sources.access import Access, Key, Meter, NoMeter, Pin, is_online, reach
from recipe_runner.sources.source import Source, SourceFile

if TYPE_CHECKING:
    from recipe_runner.recipe.types.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A recipe that was checked, resolved and compiled, with what was only worth a warning."""

    document: Document
    overrides: tuple[str, ...]
    plan: Plan
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, kw_only=True)
class Locked:
    """What `lock_recipe` did: the lock file, whether it was written, and what it says otherwise than before."""

    path: Path
    lock: Lock
    changed: bool
    changes: tuple[str, ...]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the file `path`, checked, with `path=value` overrides applied.

    Raises:
        RecipeSyntaxError: the file is no document.
        RecipeInvalid: it is no recipe; with all its problems.
    """
    return load.load_recipe(path, overrides)


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
    loaded = load.load_document(path, overrides)
    document = loaded.document
    lock = read_lock(lock_beside(Path(document.source)))
    resolved = _resolved(document, lock, terms)
    warnings = judge(lock, resolved.sources(), document, terms.lock)
    check_pipelines(document, resolved)
    plan = compile_plan(resolved)
    told = (*loaded.warnings, *unused_tokens(resolved, left_to_files(document)), *warnings)
    return Prepared(document=document, overrides=tuple(overrides), plan=plan, warnings=told)


def _resolved(document: Document, lock: Lock | None, terms: Terms) -> ResolvedRecipe:
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


def run_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    runs: str | Path = "runs",
    wait: bool = False,
    lock: Use = "auto",
    offline: bool = False,
    make_progress: Callable[[int], Progress] = lambda _: Quiet(),
) -> Run:
    """Make the images of the recipe in the file `path`, below the folder `runs`; made ones are not made again.

    Sources that are not on this machine are fetched.

    Args:
        path: the recipe.
        overrides: `path=value` texts, as `--set` takes them.
        runs: folder of run folders and the image store.
        wait: wait for another process that works on the same plan.
        lock: how the lock beside the recipe counts.
        offline: fetch nothing, and fail when something is missing.
        make_progress: makes what is told of progress, given the number of images.

    Raises:
        RecipeRunnerError: what cannot be done, with code, place and remedy. What was finished is kept.
    """
    prepared = prepare(path, overrides, Terms(network=not offline and is_online(), lock=lock))
    return execute_plan(prepared, Path(runs), wait=wait, make_progress=make_progress)


def export_adapter(
    prepared: Prepared, name: str, path: Path, *, component: str | None = None, force: bool = False
) -> Export:
    """Write the lora or merge `name` of a prepared recipe to `path` in diffusers' layout, at scale 1.

    Args:
        prepared: the recipe.
        name: the adapter's name in it.
        path: the safetensors file to write.
        component: write this component only, its keys without prefix, as `save_lora_adapter` does.
        force: overwrite a file that is there.

    Raises:
        RecipeRunnerError: a source is missing, there is no such adapter, or it has no exact form in that layout.
    """
    require_sources(prepared.plan, prepared.document.source)
    return export(prepared.plan, name, path, component=component, force=force)


def lock_recipe(
    path: str | Path, upgrade: Sequence[str] = (), *, offline: bool = False, meter: Meter | None = None
) -> Locked:
    """Write the lock of the recipe in the file `path` beside it; what it pins already is kept.

    Sources that are new, or that `upgrade` names, are looked up and fetched; others are not, also where they are not on
    this machine.

    Raises:
        RecipeRunnerError: what cannot be locked, with code, place and remedy. The old lock then stands as it was.
    """
    document = load.load_document(path).document
    target = lock_beside(Path(document.source))
    old = read_lock(target)
    upgraded = entries_named(old, upgrade) if upgrade and old else frozenset[str]()
    pins = pins_of(old, without=upgraded)
    granted = Access(
        network=not offline and is_online(),
        newest=True,
        pins=pins,
        held_back=frozenset(pins),
        meter=meter or NoMeter(),
    )
    every = variants(document)
    with reach(granted):
        resolved = resolve(document, every)
        lock = make_lock(resolved.sources(), old, upgraded)
    changed = write_if_changed(target, lock_text(lock).encode("utf-8"))
    return Locked(path=target, lock=lock, changed=changed, changes=tuple(changes(old, lock)))


def fetch_recipe(path: str | Path, *, meter: Meter | None = None) -> Mapping[str, tuple[SourceFile | LockedFile, ...]]:
    """Fetch what the recipe in the file `path` needs: what its lock names, or without one what a run would fetch.

    Returns the files of each source, all of which are on this machine then, with the bytes that the lock names.

    Raises:
        RecipeRunnerError: what cannot be fetched, with code, place and remedy. What has come is kept.
    """
    document = load.load_document(path).document
    lock = read_lock(lock_beside(Path(document.source)))
    meter = meter or NoMeter()
    if lock is not None:
        fetch_locked(lock, Path(document.source).parent, meter)
        return {role: entry.files for role, entry in lock.sources.items()}
    resolved = _resolved(document, None, Terms(network=True, meter=meter))
    sources = resolved.sources()
    return {role: source.files for role, source in sources.items() if isinstance(source, Source)}
