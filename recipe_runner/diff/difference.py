"""The types of a difference: what every comparison returns and every output format shows."""

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
    """A piece of a text that both sides have (` `), or only the old (`-`) or the new (`+`) one."""

    sign: Literal[" ", "-", "+"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePlace:
    """Where a change is: file, line and column, and whether that is on the new side."""

    path: str
    line: int
    column: int = 1
    new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change. `path` is written as for `--set`; `words` is set for texts, which are compared word by word."""

    section: str
    path: str
    what: What
    old: Json = None
    new: Json = None
    words: tuple[Word, ...] = ()
    place: ChangePlace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFate:
    """What happens to one image, identified by its prompt, seed and variant, and why.

    The keys are node keys, or digests of what the recipe says if it could not be planned.
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
    """What a change of a recipe costs. `provisional` says why a run may have other keys; empty if it has the same."""

    images: tuple[ImageFate, ...]
    provisional: tuple[str, ...]
    to_make: int
    """How many different images only the new recipe makes."""
    denoising_steps: int
    """The denoising steps of these images."""

    def count(self) -> Mapping[Fate, int]:
        """How many images have each fate."""
        found: dict[Fate, int] = {"changes": 0, "stays": 0, "appears": 0, "vanishes": 0}
        for image in self.images:
            found[image.fate] += 1
        return found

    def reasons(self) -> Mapping[tuple[Fate, str], int]:
        """How many images each reason applies to, in the order in which they first occur."""
        found: Counter[tuple[Fate, str]] = Counter()
        for image in self.images:
            for reason in dict.fromkeys(image.reasons):
                found[image.fate, reason] += 1
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSide:
    """The image of one side: its path in the run, its file if that is unchanged, size in pixels and digests."""

    path: str
    file: Path | None
    width: int
    height: int
    node_key: str
    file_sha256: str
    pixel_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePair:
    """The images of two runs with the same prompt, seed and variant; `measure` is set if both exist and differ."""

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
    """Everything that differs between two recipes, locks or runs; `notes` do not count as a difference."""

    kind: Literal["recipe", "lock", "run"]
    old: str
    new: str
    changes: tuple[Change, ...]
    cost: Cost | None = None
    pairs: tuple[ImagePair, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both sides are the same, apart from comments and the metadata in image files."""
        if self.changes:
            return False
        verdicts = {pair.verdict for pair in self.pairs}
        if not verdicts <= {"identical", "equal pixels"}:
            return False
        if self.cost is None:
            return True
        return self.cost.count()["stays"] == len(self.cost.images)
