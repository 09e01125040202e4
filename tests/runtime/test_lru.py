"""What is kept is bounded by number and size, and what was used last stays."""

from __future__ import annotations

from recipe_runner.runtime.lru import Lru


def test_what_was_unused_longest_leaves_first() -> None:
    kept: Lru[str, str] = Lru(2)
    made: list[str] = []

    def get(key: str) -> str:
        return kept.get(key, lambda: made.append(key) or key.upper())  # type: ignore[func-returns-value]

    assert [get(key) for key in "abacab"] == ["A", "B", "A", "C", "A", "B"]
    assert made == ["a", "b", "c", "b"]
    kept.clear()
    assert len(kept) == 0


def test_a_value_too_many_is_given_and_not_kept() -> None:
    kept: Lru[str, str] = Lru(0)
    assert kept.get("a", lambda: "A") == "A"
    assert len(kept) == 0


def test_of_what_is_too_large_one_is_kept() -> None:
    kept: Lru[str, str] = Lru(9, len, 3)
    for value in ("a", "bb", "cc", "dddd"):
        kept.get(value, lambda value=value: value)  # type: ignore[misc]
    assert (len(kept), kept["dddd"]) == (1, "dddd")
    for value in ("e", "ff"):
        kept.get(value, lambda value=value: value)  # type: ignore[misc]
    assert len(kept) == 2


def test_what_is_held_stays_until_the_rest_is_let_go() -> None:
    kept: Lru[str, str] = Lru(1)
    for value in "abc":
        kept.hold(value, lambda value=value: value)  # type: ignore[misc]
    kept.trim(2)
    assert len(kept) == 2
    assert [kept[value] for value in "bc"] == ["b", "c"]


def test_making_a_value_may_ask_for_others() -> None:
    kept: Lru[str, str] = Lru(2)
    assert kept.get("ab", lambda: kept.get("a", lambda: "A") + kept.get("b", lambda: "B")) == "AB"
    assert [kept[key] for key in ("b", "ab")] == ["B", "AB"]
