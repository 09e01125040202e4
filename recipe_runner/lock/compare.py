"""Compare a recipe with its lock: what the lock pins, where the two differ, and how to make a new lock."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recipe_runner.lock.file import Lock, LockedSource, installed_libraries, lock_beside, locked_source
from recipe_runner.plan.resolved_base import AnySource
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.problems.wording import some
from recipe_runner.sources.access import Key, Pin
from recipe_runner.sources.source import Source, SourceFile

if TYPE_CHECKING:
    from recipe_runner.document.document import Document

Use = Literal["auto", "locked", "frozen"]
"""How a run treats the lock beside its recipe.

`auto` uses the pins of a lock, if there is one, and warns about sources that it does not cover. `locked` requires a
lock that covers the recipe. `frozen` uses the lock as it is and ignores the recipe's revisions.
"""
LIBRARIES_ENTRY = "libraries"
ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockMismatch:
    """A difference between a lock and the sources found: the entry, the reason, and whether only the bytes differ."""

    role: str
    reason: str
    bytes_only: bool = False


def pins_of(lock: Lock | None, *, without: Collection[str] = ()) -> Mapping[Key, Pin]:
    """The pins of a lock, by address and revision as written, without those of the entries `without`."""
    if lock is None:
        return {}
    files: dict[Key, dict[str, SourceFile]] = {}
    commits: dict[Key, str | None] = {}
    loose = {(entry.address, entry.revision) for role, entry in lock.sources.items() if role in without}
    for entry in lock.sources.values():
        key = (entry.address, entry.revision)
        if key in loose:
            continue
        commits.setdefault(key, entry.commit)
        named = files.setdefault(key, {})
        for file in entry.files:
            named[file.name] = SourceFile(name=file.name, size=file.size, sha256=file.sha256)
    return {key: Pin(commit=commits[key], files=tuple(named.values())) for key, named in files.items()}


def frozen_pins(lock: Lock, document: Document) -> Mapping[Key, Pin]:
    """The pins of a lock, which also count where the recipe has another revision now."""
    pins = dict(pins_of(lock))
    by_address = {address: pin for (address, _), pin in reversed(pins.items())}
    for address, revision in _written(document.tree):
        if (address, revision) not in pins and address in by_address:
            pins[address, revision] = by_address[address]
    return pins


def _written(tree: object) -> list[Key]:
    """Every address in a recipe, with its revision."""
    found: list[Key] = []
    if isinstance(tree, Mapping):
        model, revision = tree.get("model"), tree.get("revision")
        if isinstance(model, str) and (revision is None or isinstance(revision, str)):
            found.append((model, revision))
        for value in tree.values():
            found += _written(value)
    elif isinstance(tree, list):
        for value in tree:
            found += _written(value)
    return found


def mismatches(lock: Lock, sources: Mapping[str, AnySource], *, use: Use = "auto") -> list[LockMismatch]:
    """The differences between a lock and the sources of a recipe, in the recipe's order.

    For a source that is not on this machine, only its address in the recipe is compared.
    """
    found: list[LockMismatch] = []
    for role, source in sources.items():
        entry = lock.sources.get(role)
        if entry is None:
            found.append(LockMismatch(role=role, reason=f"the lock has no entry for this source ({source.address})"))
        elif reason := _written_otherwise(entry, source, use):
            found.append(LockMismatch(role=role, reason=reason))
        elif isinstance(source, Source):
            found += _other_files(role, entry, source)
    if use != "frozen":
        for role, entry in lock.sources.items():
            if role not in sources:
                reason = f"the recipe no longer names this source ({entry.address})"
                found.append(LockMismatch(role=role, reason=reason))
    return found


def _written_otherwise(entry: LockedSource, source: AnySource, use: Use) -> str | None:
    written, now = entry.written, source.written
    for name in ("model", "revision", "subfolder", "weight_name", "variant"):
        was, is_ = getattr(written, name), getattr(now, name)
        if was == is_ or (use == "frozen" and name == "revision"):
            continue
        key = name
        if name == "model":
            key = "address"
        return f"{key}: the recipe says {is_ or 'nothing'}, the lock {was or 'nothing'}"
    return None


def _other_files(role: str, entry: LockedSource, source: Source) -> list[LockMismatch]:
    if source.commit != entry.commit:
        reason = f"commit {(source.commit or 'none')[:12]}, the lock says {(entry.commit or 'none')[:12]}"
        return [LockMismatch(role=role, reason=reason)]
    was = {file.name: file for file in entry.files}
    now = {file.name: file for file in source.files}
    if was.keys() != now.keys():
        return [LockMismatch(role=role, reason=_other_names(list(was), list(now)))]
    found = []
    for name, file in now.items():
        if (file.size, file.sha256) != (was[name].size, was[name].sha256):
            reason = f"{name}: sha256 mismatch: got {file.sha256[:12]}, lock expects {was[name].sha256[:12]}"
            found.append(LockMismatch(role=role, reason=reason, bytes_only=True))
    return found


def _other_names(was: list[str], now: list[str]) -> str:
    more = [name for name in now if name not in was]
    less = [name for name in was if name not in now]
    parts = []
    if more:
        parts.append(f"needs {some(more)}")
    if less:
        parts.append(f"no longer needs {some(less)}")
    return " and ".join(parts)


def check_against_lock(
    lock: Lock | None, sources: Mapping[str, AnySource], document: Document, use: Use
) -> tuple[Problem, ...]:
    """Refuse what `use` does not allow, and return the warnings about the rest.

    Raises:
        ResolutionError: E430 files differ from those of the lock, E431 the lock is missing, E432 the lock is stale.
    """
    path = lock_beside(Path(document.source))
    if lock is None:
        if use == "auto":
            return ()
        raise ResolutionError(no_lock(document))
    problems = [_problem(mismatch, document, use) for mismatch in mismatches(lock, sources, use=use)]
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise ResolutionError(*errors)
    return (*problems, *_library_warnings(lock, path))


def _problem(mismatch: LockMismatch, document: Document, use: Use) -> Problem:
    """The error or warning about a difference, at the entry of the recipe."""
    place = tuple(mismatch.role.partition("#")[0].split("."))
    message = f"{mismatch.role}: {mismatch.reason}"
    update = f"`recipe-runner lock {document.source}`"
    if mismatch.bytes_only:
        hint = "restore the locked file, or accept the new one with `recipe-runner lock`"
        return document.problem("E430", message, place, hint)
    if use == "auto":
        name = lock_beside(Path(document.source)).name
        return document.problem("W431", message, place, f"{update} updates {name}", severity="warning")
    return document.problem("E432", message, place, f"{update} updates the lock")


def no_lock(document: Document) -> Problem:
    """E431: the recipe has no lock."""
    path = lock_beside(Path(document.source))
    hint = f"`recipe-runner lock {document.source}` writes it"
    return Problem(code="E431", message=f"{path.name} is missing", place=Place(document.source), hint=hint)


def _library_warnings(lock: Lock, path: Path) -> tuple[Problem, ...]:
    here = installed_libraries()
    others = []
    for name, was in lock.libraries.items():
        if here.get(name) != was:
            others.append(f"{name} {was} (here {here.get(name, 'none')})")
    if not others:
        return ()
    message = f"locked with other versions: {', '.join(others)}"
    hint = "images may differ in their last bits; `recipe-runner lock --upgrade libraries` accepts these versions"
    return (Problem(code="W432", message=message, place=Place(str(path)), hint=hint, severity="warning"),)


def entries_named(lock: Lock, names: Collection[str]) -> frozenset[str]:
    """The entries that `names` select: a source's path, an adapter's name, `libraries`, or `all`.

    Raises:
        ResolutionError: E442 a name selects no entry.
    """
    known = [*lock.sources, LIBRARIES_ENTRY]
    found: set[str] = set()
    for name in names:
        meant = [entry for entry in known if _selects(name, entry)]
        if not meant:
            hint = f"entries are {', '.join(known)}; `{ALL}` means every one"
            raise ResolutionError(Problem(code="E442", message=f"the lock has no entry {name}", hint=hint))
        found.update(meant)
    return frozenset(found)


def _selects(name: str, entry: str) -> bool:
    if name in (ALL, entry, entry.partition("#")[0]):
        return True
    return entry.split(".")[1:2] == [name]


def make_lock(sources: Mapping[str, AnySource], old: Lock | None, upgraded: Collection[str] = ()) -> Lock:
    """The lock of these sources.

    Entries of the old lock are kept for sources that are not on this machine, and so are its libraries unless they are
    upgraded.

    Raises:
        ResolutionError: E402, E403 a source is neither on this machine nor in the old lock.
        WeightsError: a file cannot be read.
    """
    before_of: Mapping[str, LockedSource] = {}
    if old is not None:
        before_of = old.sources
    entries: dict[str, LockedSource] = {}
    problems: list[Problem] = []
    for role, source in sources.items():
        before = before_of.get(role)
        if isinstance(source, Source):
            entries[role] = locked_source(source)
        elif before is not None and before.written == source.written:
            entries[role] = before
        else:
            problem = source.problem
            problems.append(Problem(code=problem.code, message=f"{role}: {problem.message}", hint=problem.hint))
    if problems:
        raise ResolutionError(*problems)
    libraries = installed_libraries()
    if old is not None and LIBRARIES_ENTRY not in upgraded:
        libraries = dict(old.libraries)
    return Lock(lock=1, sources=entries, libraries=libraries)


def changes(old: Lock | None, new: Lock) -> list[str]:
    """The changes from the old lock to the new one, one line each, for people."""
    if old is None:
        return [f"{role}: locked{_at(entry)}" for role, entry in new.sources.items()]
    found: list[str] = []
    for role, entry in new.sources.items():
        before = old.sources.get(role)
        if before is None:
            found.append(f"{role}: added{_at(entry)}")
        elif before != entry:
            found.append(f"{role}: {_change(before, entry)}")
    found += [f"{role}: removed" for role in old.sources if role not in new.sources]
    if old.libraries != new.libraries:
        found.append(f"libraries: {', '.join(_upgraded(old.libraries, new.libraries))}")
    return found


def _upgraded(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name, version in new.items():
        if old.get(name) != version:
            yield f"{name} {version}"


def _at(entry: LockedSource) -> str:
    if not entry.commit:
        return ""
    return f" at {entry.commit[:12]}"


def _change(before: LockedSource, entry: LockedSource) -> str:
    if before.commit != entry.commit and entry.commit and before.commit:
        return f"{before.commit[:12]} → {entry.commit[:12]}"
    was = {file.name: file.sha256 for file in before.files}
    changed = [file.name for file in entry.files if was.get(file.name) != file.sha256]
    if not changed:
        return "changed"
    return f"changed: {some(changed)}"
