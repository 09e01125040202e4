"""Nearest names: what someone who mistyped probably meant."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_SHOWN = 12
_SHORTEST_START = 3


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name in `known` that is most like `name`, or None when none is like it. Case counts little."""
    return _nearest(name, tuple(known))


@lru_cache(maxsize=4_096)
def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    # Remembered: the rules meet the same name again with every value of an axis.
    # Imported where someone mistyped: a correct recipe does not pay for it.
    from difflib import get_close_matches  # noqa: PLC0415

    folded = {candidate.casefold(): candidate for candidate in reversed(known)}
    started = [candidate for candidate in folded if candidate.startswith(name.casefold())]
    if started and len(name) >= _SHORTEST_START:
        return folded[min(started, key=len)]
    matches = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str], what: str = "Known") -> str:
    """A hint for `name`: the nearest of `known`, or all of them when they are few, or nothing."""
    names = list(dict.fromkeys(known))
    best = nearest(name, names)
    if best is not None:
        return f"Did you mean `{best}`?"
    if not names:
        return ""
    shown = ", ".join(names[:_MOST_SHOWN])
    rest = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return f"{what}: {shown}{rest}."
