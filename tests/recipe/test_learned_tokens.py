"""The one rule of where a token stands in a prompt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipe_runner.recipe.learned_tokens import occurrences, same_token, uses


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("easynegative, EASYNEGATIVE", ["EasyNegative"], ["easynegative", "EASYNEGATIVE"]),
        ("bad-artist-2 bad-artist", ["bad-artist", "bad-artist-2"], ["bad-artist-2", "bad-artist"]),
        ("bad-artist-2 bad-artist", ["bad-artist-2", "bad-artist"], ["bad-artist-2", "bad-artist"]),
        ("a party, art; cart art2 art_1 (art) art", ["art"], ["art"] * 3),
        ("tok_1 tok tok1", ["tok"], ["tok"]),
        ("tok_1 tok", ["tok", "tok_1"], ["tok_1", "tok"]),
        ("x<cat-toy>y <CAT-TOY><cat-toy>", ["<cat-toy>"], ["<cat-toy>", "<CAT-TOY>", "<cat-toy>"]),
        ("a.b a*b [x", ["a*b", "[x"], ["a*b", "[x"]),
        ("Größe GRÖSSE größe", ["größe"], ["Größe", "größe"]),
        ("caf\u00e9 cafe\u0301 cafe", ["caf\u00e9"], ["caf\u00e9", "cafe\u0301"]),
        ("caf\u00e9 cafe\u0301 cafe", ["cafe"], ["cafe"]),
        ("nothing", [], []),
    ],
)  # fmt: skip
def test_tokens_are_found(text: str, tokens: list[str], expected: list[str]) -> None:
    found = list(occurrences(text, tokens))
    assert [text[each.start : each.end] for each in found] == expected
    assert [same_token(each.token) for each in found] == [same_token(said) for said in expected]
    assert uses(text, tokens) == bool(expected)


def test_case_makes_no_other_token() -> None:
    assert same_token("<Herge_Style>") == same_token("<herge_style>")


def test_no_set_decides_what_is_found() -> None:
    code = (
        "from recipe_runner.recipe.learned_tokens import occurrences\n"
        "names = {'bad', 'bad-artist', 'bad-artist-2', 'Bad-Artist-2-x', 'artist'}\n"
        "print(list(occurrences('bad-artist-2-X bad-artist-2 bad artist BAD-artist', names)))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2", "3")
    }
    assert len(said) == 1
