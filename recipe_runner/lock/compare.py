"""A recipe and its lock: what the lock pins, where the two differ, and a lock made anew."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recipe_runner.lock.file import Lock, LockedSource, installed_libraries, lock_beside, locked_source
from recipe_runner.plan.resolved import AnySource
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.sources.access import Key, Pin
from recipe_runner.sources.source import Source, SourceFile

if TYPE_CHECKING:
    from recipe_runner.document.document import Document

Use = Literal["auto", "locked", "frozen"]
"""How a run treats the lock beside its recipe.

`auto` pins what it covers, warns of what it does not cover, and needs none; `locked` refuses a lock that is missing or
does not cover the recipe; `frozen` takes it as it is: what the recipe says of revisions counts for nothing.
"""
LIBRARIES_ENTRY = "libraries"
ALL = "all"
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where a lock and what was found differ: the entry, why, and whether only the files' bytes are others."""

    role: str
    reason: str
    bytes_only: bool = False


def pins_of(lock: Lock | None, *, without: Collection[str] = ()) -> Mapping[Key, Pin]:
    """What a lock pins, by address and revision as written; the entries called `without` pin nothing."""
    files: dict[Key, dict[str, SourceFile]] = {}
    commits: dict[Key, str | None] = {}
    loose = {(e.address, e.revision) for role, e in (lock.sources.items() if lock else ()) if role in without}
    for entry in lock.sources.values() if lock else ():
        key = (entry.address, entry.revision)
        if key in loose:
            continue
        commits.setdefault(key, entry.commit)
        named = files.setdefault(key, {})
        named.update({f.name: SourceFile(name=f.name, size=f.size, sha256=f.sha256) for f in entry.files})
    return {key: Pin(commit=commits[key], files=tuple(named.values())) for key, named in files.items()}


def frozen_pins(lock: Lock, document: Document) -> Mapping[Key, Pin]:
    """What a lock pins whatever revision the recipe writes now."""
    pins = dict(pins_of(lock))
    by_address = {address: pin for (address, _), pin in reversed(pins.items())}
    for address, revision in _written(document.tree):
        if (address, revision) not in pins and address in by_address:
            pins[address, revision] = by_address[address]
    return pins


def _written(tree: object) -> list[Key]:
    """Every address with a revision that stands anywhere in a recipe."""
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


def differences(lock: Lock, sources: Mapping[str, AnySource], *, use: Use = "auto") -> list[Difference]:
    """Where a lock does not say what the recipe says and what was found, in the recipe's order.

    Of a source that is not on this machine only what the recipe says of it is compared.
    """
    found: list[Difference] = []
    for role, source in sources.items():
        entry = lock.sources.get(role)
        if entry is None:
            found.append(Difference(role=role, reason=f"the lock has no entry for it ({source.address})"))
        elif reason := _written_otherwise(entry, source, use):
            found.append(Difference(role=role, reason=reason))
        elif isinstance(source, Source):
            found += _other_files(role, entry, source)
    if use != "frozen":
        found += [
            Difference(role=role, reason=f"the recipe names no such source any more ({entry.address})")
            for role, entry in lock.sources.items()
            if role not in sources
        ]
    return found


def _written_otherwise(entry: LockedSource, source: AnySource, use: Use) -> str | None:
    written, now = entry.written, source.written
    for name in ("model", "revision", "subfolder", "weight_name", "variant"):
        was, is_ = getattr(written, name), getattr(now, name)
        if was != is_ and not (use == "frozen" and name == "revision"):
            key = "address" if name == "model" else name
            return f"{key}: the recipe says {is_ or 'nothing'}, the lock {was or 'nothing'}"
    return None


def _other_files(role: str, entry: LockedSource, source: Source) -> list[Difference]:
    if source.commit != entry.commit:
        reason = f"commit {(source.commit or 'none')[:12]}, the lock says {(entry.commit or 'none')[:12]}"
        return [Difference(role=role, reason=reason)]
    was = {file.name: file for file in entry.files}
    now = {file.name: file for file in source.files}
    if was.keys() != now.keys():
        more = [name for name in now if name not in was]
        less = [name for name in was if name not in now]
        parts = [f"{what} {_names(names)}" for what, names in (("needs", more), ("no longer needs", less)) if names]
        return [Difference(role=role, reason=" and ".join(parts))]
    changed = [name for name, file in now.items() if (file.size, file.sha256) != (was[name].size, was[name].sha256)]
    return [
        Difference(
            role=role,
            reason=f"{name} is another file: sha256 {now[name].sha256[:12]}, the lock says {was[name].sha256[:12]}",
            bytes_only=True,
        )
        for name in changed
    ]


def _names(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def judge(lock: Lock | None, sources: Mapping[str, AnySource], document: Document, use: Use) -> tuple[Problem, ...]:
    """Refuse what `use` does not allow; returns the warnings about the rest.

    Raises:
        ResolutionError: E430 files are not those of the lock, E431 there is none, E432 it is stale.
    """
    path = lock_beside(Path(document.source))
    if lock is None:
        if use == "auto":
            return ()
        raise ResolutionError(no_lock(document))
    errors: list[Problem] = []
    warnings: list[Problem] = []
    for difference in differences(lock, sources, use=use):
        place = tuple(difference.role.partition("#")[0].split("."))
        message = f"{difference.role}: {difference.reason}"
        if difference.bytes_only:
            hint = "put the file back that was locked, or accept the new one with `recipe-runner lock`"
            errors.append(document.problem("E430", message, place, hint))
        elif use == "auto":
            hint = f"`recipe-runner lock {document.source}` brings {path.name} up to date"
            warnings.append(document.problem("W431", message, place, hint, severity="warning"))
        else:
            errors.append(document.problem("E432", message, place, f"`recipe-runner lock {document.source}`"))
    if errors:
        raise ResolutionError(*errors)
    return (*warnings, *_library_warnings(lock, path))


def no_lock(document: Document) -> Problem:
    """E431."""
    path = lock_beside(Path(document.source))
    hint = f"`recipe-runner lock {document.source}` writes it"
    return Problem(code="E431", message=f"{path.name}: there is no such lock", place=Place(document.source), hint=hint)


def _library_warnings(lock: Lock, path: Path) -> tuple[Problem, ...]:
    here = installed_libraries()
    others = [
        f"{name} {was} (here {here.get(name, 'none')})" for name, was in lock.libraries.items() if here.get(name) != was
    ]
    if not others:
        return ()
    message = f"locked with other versions: {', '.join(others)}"
    hint = "images may differ in their last bits; `recipe-runner lock --upgrade libraries` accepts these versions"
    return (Problem(code="W432", message=message, place=Place(str(path)), hint=hint, severity="warning"),)


def entries_named(lock: Lock, names: Collection[str]) -> frozenset[str]:
    """The entries that `names` mean: a source's path, an adapter's name, `libraries`, or `all`.

    Raises:
        ResolutionError: E442 a name means none.
    """
    known = [*lock.sources, LIBRARIES_ENTRY]
    found: set[str] = set()
    for name in names:
        meant = [
            each for each in known if name in (ALL, each, each.partition("#")[0]) or each.split(".")[1:2] == [name]
        ]
        if not meant:
            hint = f"entries are {', '.join(known)}; `{ALL}` means every one"
            raise ResolutionError(Problem(code="E442", message=f"the lock has no entry {name}", hint=hint))
        found.update(meant)
    return frozenset(found)


def make_lock(sources: Mapping[str, AnySource], old: Lock | None, upgraded: Collection[str] = ()) -> Lock:
    """The lock of these sources.

    What the old one says of a source that is not on this machine is kept, and so are its libraries unless they are
    upgraded.

    Raises:
        ResolutionError: E402, E403 a source is neither here nor in the old lock.
        WeightsError: a file cannot be read.
    """
    entries: dict[str, LockedSource] = {}
    problems: list[Problem] = []
    for role, source in sources.items():
        before = old.sources.get(role) if old else None
        if isinstance(source, Source):
            entries[role] = locked_source(source)
        elif before is not None and before.written == source.written:
            entries[role] = before
        else:
            problems.append(Problem(code=source.code, message=f"{role}: {source.reason}", hint=source.hint))
    if problems:
        raise ResolutionError(*problems)
    libraries = installed_libraries()
    if old is not None and LIBRARIES_ENTRY not in upgraded:
        libraries = dict(old.libraries)
    return Lock(lock=1, sources=entries, libraries=libraries)


def changes(old: Lock | None, new: Lock) -> list[str]:
    """What a new lock says otherwise than the old one, in a person's words."""
    if old is None:
        return [f"{role}: locked{_at(entry)}" for role, entry in new.sources.items()]
    said: list[str] = []
    for role, entry in new.sources.items():
        before = old.sources.get(role)
        if before is None:
            said.append(f"{role}: added{_at(entry)}")
        elif before != entry:
            said.append(f"{role}: {_change(before, entry)}")
    said += [f"{role}: removed" for role in old.sources if role not in new.sources]
    if old.libraries != new.libraries:
        said.append(
            "libraries: " + ", ".join(f"{n} {v}" for n, v in new.libraries.items() if old.libraries.get(n) != v)
        )
    return said


def _at(entry: LockedSource) -> str:
    return f" at {entry.commit[:12]}" if entry.commit else ""


def _change(before: LockedSource, entry: LockedSource) -> str:
    if before.commit != entry.commit and entry.commit and before.commit:
        return f"{before.commit[:12]} → {entry.commit[:12]}"
    was = {file.name: file.sha256 for file in before.files}
    changed = [file.name for file in entry.files if was.get(file.name) != file.sha256]
    return f"changed: {_names(changed)}" if changed else "changed"
