"""What other programs write inside prompts: adapters, embeddings, emphasis, scheduling.

diffusers reads prompts as plain words. Tags are taken out, embeddings become adapters, and every other notation stays
in the prompt as it is, with a sentence about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from recipe_runner.exchange.importers.foreign_json import float_of
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignModel

Syntax = Literal["a1111", "comfyui", "invokeai", "none"]

_TAG = re.compile(r"<(\w{1,20}):([^<>]{1,300})>")
_LORA_TAGS = ("lora", "lyco", "locon", "loha")
_HYPERNETWORK_TAGS = ("hypernet", "hypernetwork")
_SCALED = ("te", "unet")
"""What the weights of a LoRA tag scale, in their order and by name."""
_ESCAPING = ("a1111", "comfyui")
"""Where a backslash before a bracket makes it a plain one."""
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
"""Characters in which notations are looked for: a prompt of a recipe has at most so many."""
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class PlainPrompt:
    """The words of a prompt, the adapters named in it, and a sentence for each notation that is not plain words."""

    text: str
    adapters: tuple[ForeignAdapter, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlainPrompts:
    """A prompt and its negative prompt: `texts` by diffusers' arguments, without an empty negative prompt."""

    texts: Mapping[str, str]
    adapters: tuple[ForeignAdapter, ...]
    lost: tuple[str, ...]


def plain_prompts(positive: str, negative: str, syntax: Syntax) -> PlainPrompts:
    """Read a prompt and its negative prompt as the program of `syntax` does."""
    words, avoided = plain_prompt(positive, syntax), plain_prompt(negative, syntax, "the negative prompt")
    texts = {"prompt": words.text}
    if avoided.text:
        texts["negative_prompt"] = avoided.text
    return PlainPrompts(texts, words.adapters + avoided.adapters, words.lost + avoided.lost)


def plain_prompt(text: str, syntax: Syntax, what: str = "the prompt") -> PlainPrompt:
    """Read `text` as the program of `syntax` does; `what` names the text in sentences."""
    words = text
    adapters: list[ForeignAdapter] = []
    lost: list[str] = []
    if syntax != "invokeai":
        words = _without_tags(words, what, adapters, lost)
    if syntax == "comfyui":
        words = _without_embeddings(words, adapters)
    for notation, sentence in _NOTATIONS[syntax]:
        shown = notation(words[:_LOOKED_AT])
        if shown:
            lost.append(f"{what}: {sentence.format(_short(shown))}")
    if syntax in _ESCAPING:
        words = _ESCAPED.sub(r"\1", words)
    return PlainPrompt(words.strip(), tuple(adapters), tuple(lost))


def _without_tags(text: str, what: str, adapters: list[ForeignAdapter], lost: list[str]) -> str:
    """Take the tags out of `text`; their LoRAs go to `adapters`, sentences about the other tags to `lost`."""

    def replacement(match: re.Match[str]) -> str:
        kind = match[1].lower()
        name, *weights = match[2].split(":")
        if kind in _HYPERNETWORK_TAGS:
            lost.append(f"{what}: the hypernetwork `{_short(name)}` has no counterpart in diffusers")
            return ""
        if kind not in _LORA_TAGS:
            lost.append(f"{what}: the tag `{_short(match[0])}` is read as plain words")
            return match[0]
        if not name.strip():
            return match[0]
        scale, others = _tag_scale(weights)
        adapters.append(ForeignAdapter(kind="lora", model=ForeignModel(name=name.strip()), scale=scale))
        if others:
            lost.append(f"{what}: `{_short(match[0])}` says more than scales: {', '.join(others)}")
        return ""

    return _TAG.sub(replacement, text)


def _tag_scale(weights: list[str]) -> tuple[float | dict[str, float], list[str]]:
    """The scale of `<lora:name:text encoder:unet>` or `:te=…:unet=…`, and the parts that are neither."""
    by_place: list[float] = []
    by_name: dict[str, float] = {}
    others: list[str] = []
    for part in weights:
        key, mark, value = part.rpartition("=")
        number = float_of(value)
        if number is not None and mark and key.strip() in _SCALED:
            by_name[key.strip()] = number
        elif number is not None and not mark and len(by_place) < len(_SCALED):
            by_place.append(number)
        elif part.strip():
            others.append(_short(part))
    places = by_place or [by_name.get("te", 1.0)]
    text, model = by_name.get("te", places[0]), by_name.get("unet", places[-1])
    if text == model:
        return text, others
    return {"unet": model, "text_encoder": text}, others


def _without_embeddings(text: str, adapters: list[ForeignAdapter]) -> str:
    """Replace each `embedding:name` by its token; the embeddings go to `adapters`."""
    found: dict[str, ForeignAdapter] = {}

    def token(match: re.Match[str]) -> str:
        name = match[1].replace("\\", "/")
        file = name.rpartition("/")[2]
        word = re.sub(r"\.(safetensors|pt|bin)$", "", file, flags=re.IGNORECASE) or name
        found.setdefault(word, ForeignAdapter(kind="textual_inversion", model=ForeignModel(name=name), token=word))
        return word

    words = _EMBEDDING.sub(token, text)
    adapters += found.values()
    return words


def _short(text: str) -> str:
    if len(text) <= _SHOWN:
        return text
    return f"{text[: _SHOWN - 1]}…"


def _first(pattern: re.Pattern[str] | str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def find(text: str) -> str:
        match = compiled.search(text)
        return match[0] if match else ""

    return find


def _bracketed(text: str) -> str:
    """Brackets without a number, in a text that has none with one."""
    if _WEIGHTED.search(text):
        return ""
    return _first(_BRACKETED)(text)


_EMPHASIS = (
    (_first(_WEIGHTED), "emphasis such as `{}` is read as plain words"),
    (_bracketed, "emphasis `{}` is read as plain words"),
)
_NOTATIONS: Mapping[Syntax, tuple[tuple[Callable[[str], str], str], ...]] = {
    "a1111": (
        *_EMPHASIS,
        (_first(_SCHEDULED), "prompt editing `{}` is read as plain words"),
        (_first(r"\bBREAK\b"), "`{}` does not start a new chunk here"),
        (_first(r"\bAND\b"), "`{}` does not combine prompts here"),
    ),
    "comfyui": (
        *_EMPHASIS,
        (_first(_DYNAMIC), "the choice `{}` is read as plain words"),
        (_first(r"\bBREAK\b"), "`{}` does not start a new chunk here"),
    ),
    "invokeai": (
        (_first(_COMPEL), "Compel's `{}` is read as plain words"),
        (_first(r"<[^<>\s]{1,100}>"), "the embedding `{}` is not named: add a textual_inversion adapter"),
        (_first(_WEIGHTED), "emphasis such as `{}` is read as plain words"),
    ),
    "none": (),
}
