"""Plain trees compared: leaf by leaf, named entries with renames and order, and lists of values."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from recipe_runner.canonical import Json, canonical
from recipe_runner.diff.difference import Change, ChangePlace, What, Word
from recipe_runner.diff.word_diff import compare_words

_EXACT = 2**53
Keys = tuple[str, ...]
K = TypeVar("K")
V = TypeVar("V")


class Locate(Protocol):
    """Finds the place of a path in a file."""

    def __call__(self, path: Keys, *, new: bool) -> ChangePlace | None:
        """The place on the new or the old side; None where that side has no text."""


@dataclass(frozen=True)
class Walk:
    """Makes the changes of one section; `locate` finds their places."""

    section: str
    locate: Locate

    def change(self, path: Keys, what: What, old: Json = None, new: Json = None) -> Change:
        """One change, with its place on the new side, or on the old side for a removed key."""
        words: tuple[Word, ...] = ()
        if isinstance(old, str) and isinstance(new, str) and what == "changed" and _is_prose(path[-1]):
            words = compare_words(old, new)
        place = self.locate(path, new=what != "removed")
        return Change(section=self.section, path=".".join(path), what=what, old=old, new=new, words=words, place=place)

    def leaves(self, path: Keys, old: Json, new: Json) -> Iterator[Change]:
        """Every leaf below `path` that differs: in the order of the new side, then the removed ones."""
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for name in dict.fromkeys((*new, *old)):
                inner = (*path, name)
                if name not in old:
                    yield self.change(inner, "added", new=new[name])
                elif name not in new:
                    yield self.change(inner, "removed", old=old[name])
                else:
                    yield from self.leaves(inner, old[name], new[name])
        elif canonical(old) != canonical(new):
            yield self.change(path, "changed", old, new)

    def entries(self, path: Keys, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Change]:
        """Changes of named entries whose order matters: added, renamed, changed, removed, reordered."""
        renamed = _renamed(old, new)
        for name, entry in new.items():
            inner = (*path, name)
            if name in renamed:
                yield self.change(inner, "renamed", renamed[name], name)
            elif name in old:
                yield from self.leaves(inner, old[name], entry)
            else:
                yield self.change(inner, "added", new=entry)
        for name, entry in old.items():
            if name not in new and name not in renamed.values():
                yield self.change((*path, name), "removed", old=entry)
        yield from self.order(path, list(old), [renamed.get(name, name) for name in new])

    def order(self, path: Keys, old: Sequence[Json], new: Sequence[Json]) -> Iterator[Change]:
        """A change if the items that both sides have are in another order."""
        first, second = _keyed(old), _keyed(new)
        before = list(kept(first, second).values())
        after = list(kept(second, first).values())
        if before != after:
            yield self.change(path, "reordered", before, after)

    def values(self, path: Keys, old: Sequence[Json], new: Sequence[Json]) -> Iterator[Change]:
        """Changes of a list whose order matters: values added, values removed, and the order of the rest."""
        first, second = _keyed(old), _keyed(new)
        added = list(without(second, first).values())
        removed = list(without(first, second).values())
        if added:
            yield self.change(path, "added", new=added)
        if removed:
            yield self.change(path, "removed", old=removed)
        yield from self.order(path, old, new)


def _renamed(old: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, str]:
    """The old name of each entry that only has a new name, by its new name; the contents are the same."""
    gone: dict[bytes, str] = {}
    for name, entry in without(old, new).items():
        gone.setdefault(canonical(entry), name)
    found: dict[str, str] = {}
    for name, entry in new.items():
        other = None
        if name not in old:
            other = gone.pop(canonical(entry), None)
        if other is not None:
            found[name] = other
    return found


def _keyed(values: Sequence[Json]) -> dict[bytes, Json]:
    return {canonical(alike(value)): value for value in values}


def kept(items: Mapping[K, V], keys: Container[K]) -> dict[K, V]:
    """The entries of `items` whose key is in `keys`, in their order."""
    return {key: item for key, item in items.items() if key in keys}


def without(items: Mapping[K, V], keys: Container[K]) -> dict[K, V]:
    """The entries of `items` whose key is not in `keys`, in their order."""
    return {key: item for key, item in items.items() if key not in keys}


def alike(value: Json) -> Json:
    """`value` with integers as floats where that is exact: an axis may write the scale 0.0 as 0."""
    if isinstance(value, Mapping):
        return {key: alike(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [alike(item) for item in value]
    if type(value) is int and abs(value) <= _EXACT:
        return float(value)
    return value


def _is_prose(key: str) -> bool:
    """Whether the text under `key` is prose, which is compared word by word."""
    return key == "description" or key.removeprefix("negative_").startswith("prompt")
