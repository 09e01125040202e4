"""What other programs write inside prompts: adapters, embeddings, emphasis, scheduling.

diffusers reads prompts as plain words. Tags are taken out, embeddings become adapters, and every other notation stays
in the prompt, word for word, with a sentence about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from recipe_runner.exchange.importers.foreign_json import number_of
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignModel

Syntax = Literal["a1111", "comfyui", "invokeai", "none"]

_TAG = re.compile(r"<(\w{1,20}):([^<>]{1,300})>")
_LORA_TAGS = ("lora", "lyco", "locon", "loha")
_EMBEDDING = re.compile(r"embedding:([^\s,:()\[\]{}<>]{1,200})(?::[0-9.]+)?", re.IGNORECASE)
_WEIGHTED = re.compile(r"(?<!\\)\((?:[^()\\]|\\.){1,2000}:\s*[-+]?[0-9.]+\s*\)|(?<!\\)\({2}|(?<!\\)\[{2}")
_BRACKETED = re.compile(r"(?<!\\)\((?:[^()\\]|\\.){1,2000}\)|(?<!\\)\[(?:[^\[\]\\:|]|\\.){1,2000}\]")
_ESCAPED = re.compile(r"\\([()\[\]\\])")
_SCHEDULED = re.compile(r"(?<!\\)\[[^\[\]:|]{0,2000}[:|][^\[\]]{0,2000}\]")
_DYNAMIC = re.compile(r"\{[^{}|]{0,2000}\|[^{}]{0,2000}\}|__[\w/*-]{1,100}__")
_COMPEL = re.compile(
    r"(?<=[\w)\"'])(?:\+{1,6}|-{2,6})(?=[\s,.)\"']|$)|\)\s*\.(?:blend|and|swap)\(|\.(?:blend|and|swap)\("
)
_LOOKED_AT = 20_000
"""Characters that are looked through for notations: a recipe holds no longer prompt."""
_WORD = {"BREAK": r"\bBREAK\b", "AND": r"\bAND\b"}


@dataclass(frozen=True, slots=True)
class PlainPrompt:
    """The words of a prompt, the adapters that were named in it, and what its notation meant that words do not."""

    text: str
    adapters: tuple[ForeignAdapter, ...] = ()
    lost: tuple[str, ...] = ()


def plain_prompt(text: str, syntax: Syntax, what: str = "the prompt") -> PlainPrompt:
    """Read `text` as the program of `syntax` does; `what` names it in sentences."""
    if syntax == "none":
        found = _without_tags(text, what)
        return replace(found, text=found.text.strip())
    found = _without_tags(text, what) if syntax != "invokeai" else PlainPrompt(text)
    if syntax == "comfyui":
        found = _embeddings(found)
    lost = [*found.lost]
    for notation, sentence in _NOTATIONS[syntax]:
        shown = notation(found.text[:_LOOKED_AT])
        if shown:
            lost.append(f"{what}: {sentence.format(_short(shown))}")
    words = found.text if syntax == "invokeai" else _ESCAPED.sub(r"\1", found.text)
    return PlainPrompt(words.strip(), found.adapters, tuple(lost))


def _without_tags(text: str, what: str) -> PlainPrompt:
    adapters: list[ForeignAdapter] = []
    lost: list[str] = []

    def taken(match: re.Match[str]) -> str:
        kind, (name, *weights) = match[1].lower(), match[2].split(":")
        if kind not in _LORA_TAGS:
            if kind in ("hypernet", "hypernetwork"):
                lost.append(f"{what}: the hypernetwork `{_short(name)}` has no counterpart in diffusers")
                return ""
            lost.append(f"{what}: the tag `{_short(match[0])}` is read as plain words")
            return match[0]
        scale, odd = _tag_scale(weights)
        if not name.strip():
            return match[0]
        adapters.append(ForeignAdapter(kind="lora", model=ForeignModel(name=name.strip()), scale=scale))
        if odd:
            lost.append(f"{what}: `{_short(match[0])}` says more than scales: {', '.join(odd)}")
        return ""

    return PlainPrompt(_TAG.sub(taken, text), tuple(adapters), tuple(lost))


def _tag_scale(weights: list[str]) -> tuple[float | dict[str, float], list[str]]:
    """The scale of `<lora:name:text encoder:unet>` or `:te=…:unet=…`; and the parts that are neither."""
    numbers: list[float] = []
    named: dict[str, float] = {}
    odd: list[str] = []
    for part in weights:
        key, mark, value = part.partition("=")
        number = number_of(value if mark else part)
        if number is not None and not mark and len(numbers) < 2:  # noqa: PLR2004 - text encoder and UNet
            numbers.append(float(number))
        elif number is not None and key.strip() in ("te", "unet"):
            named[key.strip()] = float(number)
        elif part.strip():
            odd.append(_short(part))
    text = named.get("te", numbers[0] if numbers else 1.0)
    model = named.get("unet", numbers[-1] if numbers else text)
    return (text if text == model else {"unet": model, "text_encoder": text}), odd


def _embeddings(prompt: PlainPrompt) -> PlainPrompt:
    found: dict[str, ForeignAdapter] = {}

    def token(match: re.Match[str]) -> str:
        name = match[1].replace("\\", "/")
        word = re.sub(r"\.(safetensors|pt|bin)$", "", name.rpartition("/")[2], flags=re.IGNORECASE) or name
        found.setdefault(word, ForeignAdapter(kind="textual_inversion", model=ForeignModel(name=name), token=word))
        return word

    text = _EMBEDDING.sub(token, prompt.text)
    return replace(prompt, text=text, adapters=(*prompt.adapters, *found.values()))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"  # noqa: PLR2004


def _first(pattern: re.Pattern[str] | str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def find(text: str) -> str:
        match = compiled.search(text)
        return match[0] if match else ""

    return find


_EMPHASIS = (
    (_first(_WEIGHTED), "emphasis such as `{}` is read as plain words"),
    (lambda text: "" if _WEIGHTED.search(text) else _first(_BRACKETED)(text), "emphasis `{}` is read as plain words"),
)
_NOTATIONS = {
    "a1111": (
        *_EMPHASIS,
        (_first(_SCHEDULED), "prompt editing `{}` is read as plain words"),
        (_first(_WORD["BREAK"]), "`{}` starts no new chunk here"),
        (_first(_WORD["AND"]), "`{}` composes no prompts here"),
    ),
    "comfyui": (
        *_EMPHASIS,
        (_first(_DYNAMIC), "the choice `{}` is read as plain words"),
        (_first(_WORD["BREAK"]), "`{}` starts no new chunk here"),
    ),
    "invokeai": (
        (_first(_COMPEL), "Compel's `{}` is read as plain words"),
        (_first(r"<[^<>\s]{1,100}>"), "the embedding `{}` is not named: add a textual_inversion adapter"),
        (_first(_WEIGHTED), "emphasis such as `{}` is read as plain words"),
    ),
}
