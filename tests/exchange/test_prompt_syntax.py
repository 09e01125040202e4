"""Notations of other programs inside prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignModel
from recipe_runner.exchange.importers.prompt_syntax import plain_prompt

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.exchange.importers.prompt_syntax import Syntax


@pytest.mark.parametrize(
    ("tag", "name", "scale"),
    [
        ("<lora:style:0.8>", "style", 0.8),
        ("<lora:style>", "style", 1.0),
        ("<lora:a b (v1.5)/ö 名:-0.25>", "a b (v1.5)/ö 名", -0.25),
        ("<lyco:style:1>", "style", 1.0),
        ("<lora:style:0.5:0.9>", "style", {"unet": 0.9, "text_encoder": 0.5}),
        ("<lora:style:te=0.5:unet=0.9>", "style", {"unet": 0.9, "text_encoder": 0.5}),
        ("<lora:style:.5>", "style", 0.5),
    ],
)
def test_a_lora_tag(tag: str, name: str, scale: Json) -> None:
    found = plain_prompt(f"a bear, {tag}, a tree", "a1111")
    assert found.text == "a bear, , a tree"
    assert found.adapters == (ForeignAdapter(kind="lora", model=ForeignModel(name=name), scale=scale),)
    assert found.lost == ()


@pytest.mark.parametrize("text", ["<lora>", "<lora:>", "a < b: c > d", "<gta5-artwork>", "<:x>"])
def test_what_is_no_tag_stays(text: str) -> None:
    assert plain_prompt(text, "a1111").text == text


def test_more_than_scales_in_a_tag_is_lost() -> None:
    found = plain_prompt("<lora:x:1:lbw=ALL:stop=12>", "a1111")
    assert found.adapters[0].scale == 1.0
    assert found.lost == ("the prompt: `<lora:x:1:lbw=ALL:stop=12>` says more than scales: lbw=ALL, stop=12",)


@pytest.mark.parametrize(
    ("text", "syntax", "shown"),
    [
        ("a (red:1.3) bear", "a1111", "(red:1.3)"),
        ("a (red) bear", "a1111", "(red)"),
        ("a ((red)) bear", "comfyui", "(("),
        ("a [red] bear", "a1111", "[red]"),
        ("a [red:blue:0.5] bear", "a1111", "[red:blue:0.5]"),
        ("a bear BREAK a tree", "a1111", "BREAK"),
        ("a bear AND a tree", "a1111", "AND"),
        ("a {red|blue} bear", "comfyui", "{red|blue}"),
        ("a red++ bear", "invokeai", "++"),
        ('("a", "b").blend(1, 2)', "invokeai", ").blend("),
        ("a <cat-toy>", "invokeai", "<cat-toy>"),
    ],
)
def test_notations_stay_and_are_told(text: str, syntax: Syntax, shown: str) -> None:
    found = plain_prompt(text, syntax)
    assert found.text == text
    assert any(f"`{shown}`" in sentence for sentence in found.lost)


@pytest.mark.parametrize(
    "text", ["a red bear", "a well-known bear", "bears - many - of them", "3-2=1", "breaking news"]
)
def test_plain_words_are_nothing_to_tell(text: str) -> None:
    for syntax in ("a1111", "comfyui", "invokeai", "none"):
        found = plain_prompt(text, syntax)
        assert (found.text, found.lost) == (text, ())


def test_escaped_brackets_are_brackets() -> None:
    found = plain_prompt(r"bear \(animal\)", "a1111")
    assert (found.text, found.lost) == ("bear (animal)", ())


def test_comfyui_embeddings_become_adapters() -> None:
    found = plain_prompt("embedding:neg/EasyNegative.pt, (embedding:bad_hands:1.2)", "comfyui")
    assert found.text == "EasyNegative, (bad_hands)"
    assert [(each.token, each.model.name) for each in found.adapters] == [
        ("EasyNegative", "neg/EasyNegative.pt"),
        ("bad_hands", "bad_hands"),
    ]


@pytest.mark.parametrize(
    "text", ["(" * 20_000, "[:" * 10_000, "<lora:" * 5_000, "{|" * 9_000, "a:" * 9_000, "\\(" * 9_000]
)
def test_hostile_prompts_cost_no_time(text: str) -> None:
    for syntax in ("a1111", "comfyui", "invokeai"):
        plain_prompt(text, syntax)
