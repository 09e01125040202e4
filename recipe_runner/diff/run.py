"""Two runs: what went in, in which environment, and picture by picture what came out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import NoReturn

from recipe_runner.canonical import Json, canonical
from recipe_runner.diff.difference import Change, Difference, ImagePair, PictureSide, Place, Verdict
from recipe_runner.diff.images import Picture, reasons_between, said
from recipe_runner.diff.operand import Side
from recipe_runner.diff.recipe import compare_recipes
from recipe_runner.diff.tree_diff import Keys, Walk, alike
from recipe_runner.disk.inside import inside
from recipe_runner.document.document import Document
from recipe_runner.graph.changed_inputs import changes, flat
from recipe_runner.images.similarity import compare_files
from recipe_runner.record.manifest import ImageRecord, manifest_from
from recipe_runner.record.names import RECIPE, RESOLVED
from recipe_runner.record.read_run import resolved_document, written_variants


def compare_runs(old: Side | None, new: Side | None, labels: tuple[str, str]) -> Difference:
    """What differs between two runs; a side that is None is not there.

    Pictures are compared by their digests; where both files are there and unlike, also by their pixels.

    Raises:
        RecordError: E804, a manifest is none; E806, a picture is none.
    """
    before, after = _Run(old), _Run(new)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        pairs = tuple(threads.map(_measured, _pairs(before, after)))
    return Difference(
        kind="run",
        old=labels[0],
        new=labels[1],
        changes=tuple(_changes(before, after)),
        pairs=pairs,
        notes=tuple(_notes(before, after)),
    )


class _Run:
    """A run as its side knows it: its manifest, and its resolved recipe where that is there too."""

    def __init__(self, side: Side | None) -> None:
        self.side = side
        self.manifest = manifest_from(side.data, side.label) if side else None
        self.images: Sequence[ImageRecord] = self.manifest.images if self.manifest else ()

    @cached_property
    def recipe(self) -> Document | None:
        """The resolved recipe beside the manifest; None where there is none that this version reads."""
        data = self.side.sibling(RESOLVED) if self.side else None
        return resolved_document(data, self.side.beside) if data is not None and self.side else None

    @cached_property
    def asked(self) -> Mapping[bytes, Picture]:
        """What the recipe asks for, by place."""
        if self.recipe is None or self.manifest is None or self.side is None:
            return {}
        recipe = self.side.sibling(RECIPE)
        text = None if recipe is None else recipe.decode("utf-8", "replace")
        written = written_variants(self.recipe, text, self.manifest.overrides)
        pictures = said(self.recipe, [values for values, _ in written])
        return {picture.place: picture for picture in pictures}

    def environment(self, image: ImageRecord) -> Mapping[str, Json]:
        """The environment that made an image, leaf by leaf."""
        found = image.environment or (self.manifest.environment if self.manifest else None)
        return {} if found is None else flat("environment", found.model_dump(mode="json"))

    def picture(self, image: ImageRecord) -> PictureSide:
        """A picture of this side, with its file where that is there and as the manifest says."""
        folder = self.side.folder if self.side else None
        file = None if folder is None else inside(folder, image.path)
        try:
            whole = file is not None and hashlib.sha256(file.read_bytes()).hexdigest() == image.file_sha256
        except OSError:
            whole = False
        return PictureSide(
            path=image.path,
            file=file if whole else None,
            width=image.width,
            height=image.height,
            node_key=image.node_key,
            file_sha256=image.file_sha256,
            pixel_sha256=image.pixel_sha256,
        )


def _nowhere(path: Keys, *, new: bool) -> Place | None:
    """A manifest is read by programs: nobody needs the line."""
    del path, new
    return None


def _changes(old: _Run, new: _Run) -> Iterator[Change]:
    if old.manifest is None or new.manifest is None:
        name = (old.manifest or new.manifest or _never()).name
        yield Walk("run", _nowhere).change(("name",), "added" if old.manifest is None else "removed", name, name)
        return
    a, b = old.manifest, new.manifest
    if old.recipe is not None and new.recipe is not None:
        yield from (replace(change, place=None) for change in compare_recipes(old.recipe, new.recipe, (None, None)))
    else:
        yield from Walk("recipe", _nowhere).leaves((), {"name": a.name}, {"name": b.name})
        scales = [{adapter.name: list(adapter.scales) for adapter in side.adapters} for side in (a, b)]
        yield from Walk("adapters", _nowhere).leaves(("adapters",), *scales)
    yield from Walk("run", _nowhere).leaves(("status",), a.status, b.status)
    sources = [
        {
            entry.role: {"address": entry.address, "commit": entry.commit, "contents": entry.digest}
            for entry in side.sources
        }
        for side in (a, b)
    ]
    yield from Walk("sources", _nowhere).leaves(("sources",), *sources)
    environments = [side.environment.model_dump(mode="json") for side in (a, b)]
    yield from Walk("environment", _nowhere).leaves(("environment",), *environments)


def _pairs(old: _Run, new: _Run) -> Iterator[ImagePair]:
    """Pictures of one prompt, seed and variant together, in the new run's order; then those that only the old has.

    Where an id or an axis was renamed, those of one node key are together.
    """
    places = {_place(image): image for image in old.images}
    taken = {_place(image) for image in new.images}
    keys = {image.node_key: image for image in reversed(old.images) if _place(image) not in taken}
    for image in new.images:
        before = places.pop(_place(image), None)
        if before is None and (before := keys.pop(image.node_key, None)) is not None:
            places.pop(_place(before), None)
        yield _pair(old, new, before, image)
    for image in places.values():
        yield _pair(old, new, image, None)


def _pair(old: _Run, new: _Run, before: ImageRecord | None, after: ImageRecord | None) -> ImagePair:
    shown = after or before or _never()
    verdict: Verdict = "different"
    if before is None:
        verdict = "only in B"
    elif after is None:
        verdict = "only in A"
    elif before.file_sha256 == after.file_sha256:
        verdict = "identical"
    elif before.pixel_sha256 == after.pixel_sha256:
        verdict = "equal pixels"
    reasons: tuple[str, ...] = ()
    if verdict == "different" and before and after:
        reasons = tuple(changes(old.environment(before), new.environment(after)))
        if before.node_key != after.node_key:
            a, b = old.asked.get(_place(before)), new.asked.get(_place(after))
            reasons += (reasons_between(a.inputs(), b.inputs()) if a and b else ()) or ("other inputs",)
        reasons = reasons or ("neither the inputs nor the environment",)
    return ImagePair(
        verdict=verdict,
        prompt=shown.prompt,
        seed=shown.seed,
        variant=shown.variant,
        old=old.picture(before) if before else None,
        new=new.picture(after) if after else None,
        reasons=reasons,
    )


def _measured(pair: ImagePair) -> ImagePair:
    if pair.verdict != "different" or not (pair.old and pair.old.file and pair.new and pair.new.file):
        return pair
    return replace(pair, measure=compare_files(pair.old.file, pair.new.file))


def _notes(old: _Run, new: _Run) -> Iterator[str]:
    if old.manifest is None or new.manifest is None:
        return
    a, b = old.manifest, new.manifest
    commits = [side.git and f"{side.git.commit[:12]}{' with changes' if side.git.dirty else ''}" for side in (a, b)]
    if commits[0] != commits[1]:
        yield f"made from commit {commits[0] or '(none)'} and {commits[1] or '(none)'}"
    same = (a.recipe_sha256, a.overrides) == (b.recipe_sha256, b.overrides)
    if not same and (old.recipe is None or new.recipe is None):
        yield "the recipes or overrides differ; without both runs' resolved.yaml nothing tells how"


def _place(image: ImageRecord) -> bytes:
    return canonical([image.prompt, image.seed, alike(image.variant)])


def _never() -> NoReturn:
    message = "BUG: neither side is there"
    raise AssertionError(message)
