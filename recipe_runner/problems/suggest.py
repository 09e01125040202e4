"""Suggest the names that someone who mistyped probably meant."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_SHOWN = 12
_SHORTEST_START = 3


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name in `known` that is most like `name`, or None when none is similar. Case counts little."""
    for similar in nearest_few(name, known, 1):
        return similar
    return None


def nearest_few(name: str, known: Iterable[str], most: int) -> tuple[str, ...]:
    """At most `most` names in `known` that are similar to `name`, the most similar first. Case counts little."""
    return _nearest(name.casefold(), tuple(known), most)


@lru_cache(maxsize=4_096)
def _nearest(name: str, known: tuple[str, ...], most: int) -> tuple[str, ...]:
    # Cached: the rules meet the same name again with every value of an axis.
    # Imported here: a correct recipe does not pay for it.
    from difflib import get_close_matches  # noqa: PLC0415

    folded = {candidate.casefold(): candidate for candidate in reversed(known)}
    started = [candidate for candidate in folded if candidate.startswith(name)]
    if started and len(name) >= _SHORTEST_START:
        return (folded[min(started, key=len)],)
    return tuple(folded[match] for match in get_close_matches(name, list(folded), n=most, cutoff=0.6))


def did_you_mean(name: str, known: Iterable[str], what: str = "Known") -> str:
    """A hint for `name`: the most similar of `known`, otherwise the first 12 of `known`; empty when `known` is."""
    names = list(dict.fromkeys(known))
    best = nearest(name, names)
    if best is not None:
        return f"Did you mean `{best}`?"
    if not names:
        return ""
    shown = ", ".join(names[:_MOST_SHOWN])
    if len(names) > _MOST_SHOWN:
        shown += f" and {len(names) - _MOST_SHOWN} more"
    return f"{what}: {shown}."
