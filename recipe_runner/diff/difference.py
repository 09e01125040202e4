"""The one type of a difference: what every kind of comparison gives and every format shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from recipe_runner.canonical import Json

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.images.similarity import Comparison

What = Literal["added", "removed", "changed", "renamed", "reordered"]
Fate = Literal["changes", "stays", "appears", "vanishes"]
Verdict = Literal["identical", "equal pixels", "different", "only in A", "only in B"]


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of a text that both sides have (` `), or the old (`-`) or the new (`+`) one alone."""

    sign: Literal[" ", "-", "+"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a change stands: the file and line, and whether that is on the new side."""

    path: str
    line: int
    column: int = 1
    new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that differs. `path` is as `--set` writes it; `words` is set for texts, which are compared by word."""

    section: str
    path: str
    what: What
    old: Json = None
    new: Json = None
    words: tuple[Word, ...] = ()
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFate:
    """What becomes of one image: by its prompt, seed and variant, and why.

    The keys are node keys, or digests of what the recipe says where a plan could not be made.
    """

    fate: Fate
    prompt: str
    seed: int
    variant: Mapping[str, Json]
    old_key: str | None
    new_key: str | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a change of a recipe costs. `provisional` says why keys may not be those of a run; empty when they are."""

    images: tuple[ImageFate, ...]
    provisional: tuple[str, ...]
    to_make: int
    """Different images that the new recipe makes and the old one did not."""
    denoising_steps: int
    """The denoising steps of those."""

    def count(self) -> Mapping[Fate, int]:
        """How many images have each fate."""
        found = Counter(image.fate for image in self.images)
        fates: tuple[Fate, ...] = ("changes", "stays", "appears", "vanishes")
        return {fate: found[fate] for fate in fates}

    def reasons(self) -> Mapping[tuple[Fate, str], int]:
        """How many images each reason touches, in the order in which they first occur."""
        found: Counter[tuple[Fate, str]] = Counter()
        for image in self.images:
            found.update(list(dict.fromkeys((image.fate, reason) for reason in image.reasons)))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSide:
    """One side's picture: its path in the run, the file where that is there unchanged, size in pixels and digests."""

    path: str
    file: Path | None
    width: int
    height: int
    node_key: str
    file_sha256: str
    pixel_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePair:
    """The pictures that two runs made of one prompt, seed and variant; `measure` where both are there and differ."""

    verdict: Verdict
    prompt: str
    seed: int
    variant: Mapping[str, Json]
    old: PictureSide | None
    new: PictureSide | None
    measure: Comparison | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Everything that differs between two recipes, locks or runs; `notes` are what is told and counts for nothing."""

    kind: Literal["recipe", "lock", "run"]
    old: str
    new: str
    changes: tuple[Change, ...]
    cost: Cost | None = None
    pairs: tuple[ImagePair, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs but what has no meaning, such as comments, or the text that a picture carries."""
        unequal = (pair.verdict not in ("identical", "equal pixels") for pair in self.pairs)
        moved = self.cost is not None and any(image.fate != "stays" for image in self.cost.images)
        return not self.changes and not moved and not any(unequal)
