"""Plain trees compared: leaf by leaf, named entries with renames and order, and lists of values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from recipe_runner.canonical import Json, canonical
from recipe_runner.diff.difference import Change, Place, What, Word
from recipe_runner.diff.word_diff import compare_words

_EXACT = 2**53
Keys = tuple[str, ...]


class Locate(Protocol):
    """Says where a path stands."""

    def __call__(self, path: Keys, *, new: bool) -> Place | None:
        """Its place on the new side or the old; None where there is no text."""


@dataclass(frozen=True)
class Walk:
    """Makes the changes of one section; `locate` finds their places."""

    section: str
    locate: Locate

    def change(self, path: Keys, what: What, old: Json = None, new: Json = None) -> Change:
        """One change, placed on the new side unless it is gone there."""
        words: tuple[Word, ...] = ()
        if isinstance(old, str) and isinstance(new, str) and what == "changed" and _is_prose(path[-1]):
            words = compare_words(old, new)
        place = self.locate(path, new=what != "removed")
        return Change(section=self.section, path=".".join(path), what=what, old=old, new=new, words=words, place=place)

    def leaves(self, path: Keys, old: Json, new: Json) -> Iterator[Change]:
        """Every leaf that differs below `path`, in the order of the new side, then what is gone."""
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
        """Named entries whose order counts: added, renamed, changed, removed, reordered."""
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
        """A change where what both sides have stands in another order."""
        first, second = _keyed(old), _keyed(new)
        before = [item for key, item in first.items() if key in second]
        after = [item for key, item in second.items() if key in first]
        if before != after:
            yield self.change(path, "reordered", before, after)

    def values(self, path: Keys, old: Sequence[Json], new: Sequence[Json]) -> Iterator[Change]:
        """Values of a list whose order counts: those added, those removed, and the order of the rest."""
        first, second = _keyed(old), _keyed(new)
        if added := [item for key, item in second.items() if key not in first]:
            yield self.change(path, "added", new=added)
        if removed := [item for key, item in first.items() if key not in second]:
            yield self.change(path, "removed", old=removed)
        yield from self.order(path, old, new)


def _renamed(old: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, str]:
    """New names of entries that the old side has under another name, with the same contents."""
    gone = {canonical(entry): name for name, entry in reversed(list(old.items())) if name not in new}
    found: dict[str, str] = {}
    for name, entry in new.items():
        if name not in old and (other := gone.pop(canonical(entry), None)) is not None:
            found[name] = other
    return found


def _keyed(values: Sequence[Json]) -> dict[bytes, Json]:
    return {canonical(alike(value)): value for value in values}


def alike(value: Json) -> Json:
    """`value` with whole numbers as floats where that loses nothing: an axis may say 0 for the scale 0.0."""
    if isinstance(value, Mapping):
        return {key: alike(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [alike(item) for item in value]
    return float(value) if type(value) is int and abs(value) <= _EXACT else value


def _is_prose(key: str) -> bool:
    """Whether people read the text under `key` word for word."""
    return key == "description" or key.removeprefix("negative_").startswith("prompt")
