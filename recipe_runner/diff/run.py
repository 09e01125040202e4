"""Compare two runs: their inputs, their environments, and their images one by one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from recipe_runner.canonical import Json, canonical
from recipe_runner.diff.difference import Change, ChangePlace, Difference, ImagePair, PictureSide, Verdict
from recipe_runner.diff.images import AskedImage, reasons_between, said
from recipe_runner.diff.operand import Side
from recipe_runner.diff.recipe import compare_recipes
from recipe_runner.diff.tree_diff import Keys, Walk, alike
from recipe_runner.disk.inside import inside
from recipe_runner.document.document import Document
from recipe_runner.graph.changed_inputs import changes, flat
from recipe_runner.images.similarity import compare_files
from recipe_runner.record.manifest import ImageRecord, Manifest, manifest_from
from recipe_runner.record.names import RECIPE, RESOLVED
from recipe_runner.record.read_run import resolved_document, written_variants


def compare_runs(old: Side | None, new: Side | None, labels: tuple[str, str]) -> Difference:
    """The difference between two runs, either of which may be missing.

    Images are compared by their digests; if both files exist and differ, also by their pixels.

    Raises:
        RecordError: E804, a manifest is not valid; E806, a file is not an image.
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
    """One side of the comparison: its manifest, and its resolved recipe if that exists."""

    def __init__(self, side: Side | None) -> None:
        self.side = side
        self.manifest: Manifest | None = None
        self.images: Sequence[ImageRecord] = ()
        if side is not None:
            self.manifest = manifest_from(side.data, side.label)
            self.images = self.manifest.images

    @cached_property
    def recipe(self) -> Document | None:
        """The resolved recipe beside the manifest; None if it does not exist or this version cannot read it."""
        if self.side is None:
            return None
        data = self.side.sibling(RESOLVED)
        if data is None:
            return None
        return resolved_document(data, self.side.beside)

    @cached_property
    def asked(self) -> Mapping[bytes, AskedImage]:
        """The images that the recipe asks for, by place."""
        if self.recipe is None or self.manifest is None or self.side is None:
            return {}
        text = None
        recipe = self.side.sibling(RECIPE)
        if recipe is not None:
            text = recipe.decode("utf-8", "replace")
        written = written_variants(self.recipe, text, self.manifest.overrides)
        pictures = said(self.recipe, [values for values, _ in written])
        return {picture.place: picture for picture in pictures}

    def environment(self, image: ImageRecord) -> Mapping[str, Json]:
        """The environment that made an image, leaf by leaf."""
        found = image.environment
        if found is None and self.manifest is not None:
            found = self.manifest.environment
        if found is None:
            return {}
        return flat("environment", found.model_dump(mode="json"))

    def picture(self, image: ImageRecord | None) -> PictureSide | None:
        """An image of this side, with its file if that is as the manifest says."""
        if image is None:
            return None
        return PictureSide(
            path=image.path,
            file=self._whole_file(image),
            width=image.width,
            height=image.height,
            node_key=image.node_key,
            file_sha256=image.file_sha256,
            pixel_sha256=image.pixel_sha256,
        )

    def _whole_file(self, image: ImageRecord) -> Path | None:
        if self.side is None or self.side.folder is None:
            return None
        file = inside(self.side.folder, image.path)
        try:
            found = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError:
            return None
        if found != image.file_sha256:
            return None
        return file


def _nowhere(path: Keys, *, new: bool) -> ChangePlace | None:
    """No place: programs write manifests, so their lines mean nothing to a reader."""
    del path, new
    return None


def _changes(old: _Run, new: _Run) -> Iterator[Change]:
    a, b = old.manifest, new.manifest
    if a is None or b is None:
        yield from _one_sided(a, b)
        return
    if old.recipe is not None and new.recipe is not None:
        for change in compare_recipes(old.recipe, new.recipe, (None, None)):
            yield replace(change, place=None)
    else:
        yield from Walk("recipe", _nowhere).leaves((), {"name": a.name}, {"name": b.name})
        yield from Walk("adapters", _nowhere).leaves(("adapters",), _scales(a), _scales(b))
    yield from Walk("run", _nowhere).leaves(("status",), a.status, b.status)
    yield from Walk("sources", _nowhere).leaves(("sources",), _sources(a), _sources(b))
    yield from Walk("environment", _nowhere).leaves(("environment",), _environment(a), _environment(b))


def _one_sided(old: Manifest | None, new: Manifest | None) -> Iterator[Change]:
    walk = Walk("run", _nowhere)
    if new is not None:
        yield walk.change(("name",), "added", new.name, new.name)
    elif old is not None:
        yield walk.change(("name",), "removed", old.name, old.name)


def _scales(manifest: Manifest) -> Json:
    return {adapter.name: list(adapter.scales) for adapter in manifest.adapters}


def _sources(manifest: Manifest) -> Json:
    entries: dict[str, Json] = {}
    for source in manifest.sources:
        entries[source.role] = {"address": source.address, "commit": source.commit, "contents": source.digest}
    return entries


def _environment(manifest: Manifest) -> Json:
    found: Json = manifest.environment.model_dump(mode="json")
    return found


def _pairs(old: _Run, new: _Run) -> Iterator[ImagePair]:
    """Pairs of images with the same prompt, seed and variant, in the new run's order; then images of the old run only.

    If an id or an axis was renamed, images with the same node key are a pair.
    """
    places, taken = _by_place(old.images), _by_place(new.images)
    keys: dict[str, ImageRecord] = {}
    for image in old.images:
        if _place(image) not in taken:
            keys.setdefault(image.node_key, image)
    for image in new.images:
        before = places.pop(_place(image), None)
        if before is None:
            before = keys.pop(image.node_key, None)
            if before is not None:
                places.pop(_place(before), None)
        yield _pair(old, new, before, image)
    for image in places.values():
        yield _pair(old, new, image, None)


def _by_place(images: Sequence[ImageRecord]) -> dict[bytes, ImageRecord]:
    return {_place(image): image for image in images}


def _pair(old: _Run, new: _Run, before: ImageRecord | None, after: ImageRecord | None) -> ImagePair:
    shown = after or before
    if shown is None:
        raise AssertionError("BUG: an image on neither side")
    verdict = _verdict(before, after)
    reasons: tuple[str, ...] = ()
    if verdict == "different" and before is not None and after is not None:
        reasons = _reasons(old, new, before, after)
    return ImagePair(
        verdict=verdict,
        prompt=shown.prompt,
        seed=shown.seed,
        variant=shown.variant,
        old=old.picture(before),
        new=new.picture(after),
        reasons=reasons,
    )


def _verdict(before: ImageRecord | None, after: ImageRecord | None) -> Verdict:
    if before is None:
        return "only in B"
    if after is None:
        return "only in A"
    if before.file_sha256 == after.file_sha256:
        return "identical"
    if before.pixel_sha256 == after.pixel_sha256:
        return "equal pixels"
    return "different"


def _reasons(old: _Run, new: _Run, before: ImageRecord, after: ImageRecord) -> tuple[str, ...]:
    reasons = tuple(changes(old.environment(before), new.environment(after)))
    if before.node_key != after.node_key:
        reasons += _input_reasons(old.asked.get(_place(before)), new.asked.get(_place(after)))
    return reasons or ("neither the inputs nor the environment",)


def _input_reasons(old: AskedImage | None, new: AskedImage | None) -> tuple[str, ...]:
    reasons: tuple[str, ...] = ()
    if old is not None and new is not None:
        reasons = reasons_between(old.inputs(), new.inputs())
    return reasons or ("other inputs",)


def _measured(pair: ImagePair) -> ImagePair:
    if pair.verdict != "different" or not (pair.old and pair.old.file and pair.new and pair.new.file):
        return pair
    return replace(pair, measure=compare_files(pair.old.file, pair.new.file))


def _notes(old: _Run, new: _Run) -> Iterator[str]:
    a, b = old.manifest, new.manifest
    if a is None or b is None:
        return
    if _commit(a) != _commit(b):
        yield f"made from commit {_commit(a)} and {_commit(b)}"
    same = (a.recipe_sha256, a.overrides) == (b.recipe_sha256, b.overrides)
    if not same and (old.recipe is None or new.recipe is None):
        yield "the recipes or overrides differ; to see how, both runs need their resolved.yaml"


def _commit(manifest: Manifest) -> str:
    if manifest.git is None:
        return "(none)"
    commit = manifest.git.commit[:12]
    if manifest.git.dirty:
        return f"{commit} with changes"
    return commit


def _place(image: ImageRecord) -> bytes:
    return canonical([image.prompt, image.seed, alike(image.variant)])
