"""Labels fit where they are put, and say what matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipe_runner.images.labels import axis_names, cut, differing, drawable, heading, value_text, wrap

if TYPE_CHECKING:
    from recipe_runner.canonical import Json


def test_axes_are_called_by_the_shortest_end_that_is_their_own() -> None:
    assert axis_names(["adapters.cereal.scale", "sampling.guidance_scale"]) == {
        "adapters.cereal.scale": "cereal.scale",
        "sampling.guidance_scale": "sampling.guidance_scale",
    }
    assert axis_names(["a.x.scale.down", "b.x.scale.down", "seeds"]) == {
        "a.x.scale.down": "a.x.scale.down",
        "b.x.scale.down": "b.x.scale.down",
        "seeds": "seeds",
    }
    assert axis_names([]) == {}


def test_values_are_written_as_in_a_recipe() -> None:
    values: tuple[Json, ...] = (1, 1.0, True, None, "text", [0.5, "a"], {"down": 0.5, "up": {"block_0": 1}})
    assert [value_text(value) for value in values] == [
        "1",
        "1.0",
        "true",
        "null",
        "text",
        "[0.5, a]",
        "down: 0.5, up: block_0: 1",
    ]


def test_sections_are_told_apart_by_what_differs() -> None:
    cat: dict[str, Json] = {"kind": "merge", "weights": [1, 2]}
    svd: dict[str, Json] = {**cat, "svd_rank": 8}
    assert differing([cat | {"how": "cat"}, svd | {"how": "svd"}]) == [{"how": "cat"}, {"svd_rank": 8, "how": "svd"}]
    assert differing([{"weights": 1}, {"weights": 1.0}]) == [{"weights": 1}, {"weights": 1.0}]
    # A section that has no more than the others is shown whole.
    assert differing([cat, svd]) == [cat, {"svd_rank": 8}]
    assert differing([cat, 0.5]) == [cat, 0.5]


def test_text_is_cut_at_either_end() -> None:
    assert cut("bears\nand  pizza", 20, len) == "bears and pizza"
    assert cut("bears and pizza", 9, len) == "bears an…"
    assert cut("bears and pizza", 7, len) == "bears…"
    assert cut("models/base.safetensors", 12, len, keep_end=True) == "…safetensors"
    assert cut("bears", 0, len) == ""


def test_text_is_wrapped_between_words() -> None:
    text = "a bear that eats pizza"
    assert wrap(text, 10, 5, len) == ["a bear", "that eats", "pizza"]
    assert wrap(text, 10, 2, len) == ["a bear", "that eats…"]
    assert wrap(text, 10, 0, len) == []
    assert wrap("incomprehensibilities", 10, 3, len) == ["incompreh…"]
    assert wrap("", 10, 3, len) == []


@settings(deadline=None, derandomize=True)
@given(text=st.text(), width=st.integers(0, 40), lines=st.integers(0, 4))
def test_nothing_is_wider_than_its_place(text: str, width: int, lines: int) -> None:
    wrapped = wrap(text, width, lines, len)
    assert len(wrapped) <= lines
    assert all(len(line) <= width for line in [*wrapped, cut(text, width, len), cut(text, width, len, keep_end=True)])


def test_accents_are_taken_off_and_other_scripts_stay() -> None:
    assert drawable("naïve \u2013 café… 熊\u200d\ufe0f") == "naive - cafe… 熊"
    assert drawable("a\nb\tc\x07") == "a\nb\tc"


@pytest.mark.parametrize(
    ("values", "name", "texts"),
    [
        (
            [{"kind": "merge", "type": "cat"}, {"kind": "merge", "type": "svd", "rank": 8}],
            "adapters.both.type",
            ["cat", "svd, rank: 8"],
        ),
        ([{"class": "A"}, {"class": "B"}], "adapters.both.class", ["A", "B"]),
        ([1.0, {"unet": 0.5}], "adapters.both", ["1.0", "unet: 0.5"]),
        ([{"down": 1.0}, {"up": 1.0}], "adapters.both", ["down: 1.0", "up: 1.0"]),
        ([{}, {"up": 1.0}], "adapters.both", ["{}", "up: 1.0"]),
        ([0.5, 1.0], "adapters.both", ["0.5", "1.0"]),
    ],
)
def test_a_key_that_all_values_begin_with_is_said_once(values: list[Any], name: str, texts: list[str]) -> None:
    assert heading("adapters.both", values) == (name, texts)
