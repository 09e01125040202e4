"""Captions in varied wording for the pictures of ``shapes``, and what each of them says."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from .shapes import NAMED_COLOURS, SHAPES, SIZE_WORDS, Subject

BLURRY: Final = "blurry"

BLURRED_THING_SHARE: Final = 0.4
"""How often ``blurry`` stands before the thing instead of the whole caption."""

OPENING_SHARE: Final = 0.35
"""How often a caption begins with what kind of picture it is."""

ANY_SHAPE: Final = "shape"
"""What a caption calls a shape that it does not name."""

_PHRASES: Final = (
    "{a thing} on {a ground} background",
    "{a thing} on {a ground} background",
    "{a thing} on {ground}",
    "{thing} on {ground}",
    "{thing}, {ground} background",
    "{a thing} in front of {a ground} background",
    "{a ground} background with {a thing}",
    "{ground} background, {thing}",
)
_BARE_PHRASES: Final = ("{a thing}", "{thing}")
_OPENINGS: Final = ("a picture of ", "a drawing of ", "an image of ", "a photo of ")
_BLURRY_OPENINGS: Final = ("a blurry picture of ", "a blurry drawing of ", "a blurry image of ", "a blurry photo of ")

OTHER_WORDS: Final = frozenset(
    {
        "outline",
        "outlined",
        "line",
        "thick",
        "thin",
        "striped",
        "stripes",
        "dotted",
        "dots",
        "glowing",
        "glow",
        "neon",
        "pastel",
        "dark",
        "light",
        "bright",
        "pale",
        "soft",
        "sharp",
        "flat",
        "style",
        "my",
        "one",
        "two",
        "the",
        "of",
        "in",
        "and",
        "with",
        "at",
        "to",
        "by",
        "for",
        "is",
        "no",
        "not",
        "low",
        "quality",
        "bad",
        "ugly",
        "good",
        "best",
        "teal",
        "brown",
        "grey",
        "gray",
        "cyan",
        "gold",
        "colour",
        "color",
        "colored",
        "coloured",
    }
)
"""Words that captions never use and the tokenizer knows as one token all the same, for what is trained later."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caption says; None where it leaves a thing open."""

    shape: str | None
    colour: str | None
    background: str | None
    size: str | None
    blurry: bool


def article(noun: str) -> str:
    """Put the indefinite article before a noun phrase."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def write_caption(random: Random, wish: Wish) -> str:
    """Return one of the many captions that say just what is wished; a bare wish has an empty caption."""
    if wish == Wish(None, None, None, None, blurry=False):
        return ""
    words = [wish.shape or ANY_SHAPE]
    if wish.colour is not None:
        words.insert(0, wish.colour)
    if wish.size is not None:
        words.insert(0, random.choice(SIZE_WORDS[wish.size]))
    thing = " ".join(words)
    blurred_thing = wish.blurry and random.random() < BLURRED_THING_SHARE
    if blurred_thing:
        thing = f"{BLURRY} {thing}"
    phrase = random.choice(_PHRASES if wish.background is not None else _BARE_PHRASES)
    ground = wish.background or ""
    for slot, text in (("{thing}", thing), ("{ground}", ground)):
        phrase = phrase.replace(slot, text)
    phrase = phrase.replace("{a thing}", article(thing))
    if ground:
        phrase = phrase.replace("{a ground}", article(ground))
    starts_with_noun = phrase.startswith((article(thing), article(ground) if ground else article(thing)))
    if wish.blurry and not blurred_thing:
        return random.choice(_BLURRY_OPENINGS) + phrase if starts_with_noun else f"{BLURRY} {phrase}"
    if starts_with_noun and random.random() < OPENING_SHARE:
        return random.choice(_OPENINGS) + phrase
    return phrase


def plain_caption(subject: Subject, size: str | None = None) -> str:
    """Return the plainest caption of a subject."""
    thing = " ".join(word for word in (size, subject.colour, subject.shape) if word is not None)
    return f"{article(thing)} on {article(subject.background)} background"


def vocabulary_words() -> tuple[str, ...]:
    """Return every word that should be one token, sorted."""
    phrases = (*_PHRASES, *_BARE_PHRASES, *_OPENINGS, *_BLURRY_OPENINGS)
    words = {
        word for phrase in phrases for word in phrase.replace(",", " ").split() if "{" not in word and "}" not in word
    }
    words.update(SHAPES, NAMED_COLOURS, OTHER_WORDS, (ANY_SHAPE, BLURRY, "a", "an"))
    for sizes in SIZE_WORDS.values():
        words.update(sizes)
    return tuple(sorted(words))
