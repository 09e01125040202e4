"""Writing YAML: whatever is written is read back as it was."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from recipe_runner.canonical import Json
from recipe_runner.document.document import parse_document
from recipe_runner.document.write_yaml import to_yaml

# What YAML cannot hold at all (lone surrogates, noncharacters) is not in a recipe either.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"], include_characters="\n\t")) | st.sampled_from(
    [
        "no",
        "1e-4",
        "0755",
        "12:30:45",
        "~",
        "2020-01-01",
        "a: b",
        "- x",
        "#",
        "\n",
        "\u2028",
        "\u0085",
        "\ufeff",
        "=",
        "<<",
    ]
)
NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc_", min_size=1), TREES, min_size=1, max_size=4))
def test_what_is_written_is_read_back(tree: dict[str, Json]) -> None:
    text = to_yaml(tree)
    read = parse_document(text.encode(), "x.yaml").tree
    assert read == tree
    assert repr(read) == repr(tree)  # 1, 1.0 and True stay apart


def test_readers_of_yaml_1_1_read_the_same_text_and_numbers() -> None:
    tree: dict[str, Json] = {
        "a": "no",
        "b": "0755",
        "c": 1e-7,
        "d": 1.5,
        "e": "12:30:45",
        "f": True,
        "g": "1e3",
        "h": 1e22,
    }
    assert yaml.safe_load(to_yaml(tree)) == tree


def test_prompts_stay_readable() -> None:
    assert to_yaml({"prompt": "a red star\non a blue ground", "seeds": (1, 2)}) == (
        "prompt: |-\n  a red star\n  on a blue ground\nseeds: [1, 2]\n"
    )
